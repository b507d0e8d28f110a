// Package apiserver talks to the Kubernetes API server in JSON: single requests, and collections that are listed and then followed.
// Objects are decoded one at a time into the few fields that a caller names, so that a large collection costs no memory.
package apiserver
