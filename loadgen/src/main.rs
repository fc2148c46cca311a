//! A load generator for NSQ lookupds.

fn main() {}
