//! The bytes of one log, in Kafka's format.
