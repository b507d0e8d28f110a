// Package v1alpha1 holds the types of the resources that berth defines, group berth-net.github.io, version v1alpha1. The
// definitions in the chart and the reference page are generated from them and from their comments.
//
//go:generate go run ./crdgen ../..
package v1alpha1
