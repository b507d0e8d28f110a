// Package deploy holds what is installed into a cluster: the Helm chart, the plain manifest that is rendered from it,
// and the IAM policies. It knows no more than the files; those who install them bring Helm or kubectl.
package deploy

import "embed"

// Chart is the Helm chart, below the folder "chart/berth".
//
//go:embed all:chart/berth
var Chart embed.FS

// IAM holds the IAM policies, below the folder "iam".
//
//go:embed iam/*.json
var IAM embed.FS
