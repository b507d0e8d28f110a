// Package pacing decides how long a call to the simulated EC2 takes and whether it is let through: latency
// distributions, request buckets per action and account, faults, and the log that counts calls. Time is an argument and
// randomness a source of the caller's, so it is deterministic under a seed.
package pacing
