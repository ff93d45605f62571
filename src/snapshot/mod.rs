//! What is done with snapshots, one verb a file.
