//! The executable contract of [`Platform`](ftl_core::Platform): checks that any backend passes, or refuses as it declares.
