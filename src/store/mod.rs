//! What lies on disk: ids, manifests, states, the catalogue.
