//! The files under `config/`.
