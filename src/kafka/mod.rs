//! A foreign writer's directory: Kafka's own.
