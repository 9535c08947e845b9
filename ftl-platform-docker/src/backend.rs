//! What every operation of the platform has at hand.

use std::sync::Arc;

use crate::connect::{Engine, Surroundings};
use crate::image::{Host, Images};
use crate::instances::Seen;
use crate::options::Options;

/// The engine, the images of this machine's programs, and how it is all configured. It holds nothing that the engine
/// does not know, so another value over the same engine does the same.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) engine: Arc<Engine>,
    pub(crate) images: Images,
    /// Networks are made one at a time by this process, which makes the race with others rare.
    pub(crate) networking: tokio::sync::Mutex<()>,
    pub(crate) options: Options,
    pub(crate) seen: Seen,
}

impl Backend {
    pub(crate) fn new(options: Options) -> Self {
        let surroundings = Surroundings::of_this_process(options.host.clone());
        Self {
            engine: Arc::new(Engine::new(surroundings, options.timings)),
            images: Images::new(Host::of_this_machine()),
            networking: tokio::sync::Mutex::default(),
            options,
            seen: Seen::default(),
        }
    }
}
