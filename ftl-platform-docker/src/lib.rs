//! Runners in containers, through the Docker Engine: no registry, no image build, no published port.
