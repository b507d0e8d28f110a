// Package eks serves the part of the EKS API that operators of add-ons use: clusters, add-ons with their updates and
// configuration values, node groups and tags, as JSON over REST.
//
// What a cluster is and how an add-on is rolled out is the Backend's: the lab implements it with a real cluster, Memory
// with a clock. This package knows the wire, checks configuration values against an add-on's schema before the backend
// sees them, and keeps the records of updates:
//
//	update-addon ─► schema ─► Backend.ApplyAddon ─► add-on UPDATING ─► ACTIVE   ─► update Successful
//	                  │                                            └─► DEGRADED ─► update Failed
//	       InvalidParameterException
//
// Records of updates and changed tags live as long as the Service.
package eks

import (
	"context"
	"net/http"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
)

// Backend is the clusters behind the API. An error that is an *Error goes to the client as it is, any other as a
// ServerException.
type Backend interface {
	// Clusters lists the clusters.
	Clusters(ctx context.Context) ([]Cluster, error)
	// NodeGroups lists a cluster's node groups.
	NodeGroups(ctx context.Context, cluster string) ([]NodeGroup, error)
	// Addons lists a cluster's add-ons as they are now.
	Addons(ctx context.Context, cluster string) ([]Addon, error)
	// ApplyAddon begins to create or change an add-on and returns: from then on Addons shows it with the change's UpdateID
	// and status Creating or Updating, later Active, Degraded or a failure.
	ApplyAddon(ctx context.Context, cluster string, change AddonChange) error
	// RemoveAddon begins to remove an add-on; with preserve what it installed stays.
	RemoveAddon(ctx context.Context, cluster, name string, preserve bool) error
	// Catalogue lists the versions of add-ons that there are.
	Catalogue(ctx context.Context) ([]AddonVersion, error)
}

// Cluster is a cluster as EKS describes it.
type Cluster struct {
	Name, ARN, Version, PlatformVersion string
	Endpoint                            string
	CertificateAuthority                []byte // PEM
	RoleARN, OIDCIssuer                 string
	Status                              string // CREATING, ACTIVE, DELETING, FAILED
	CreatedAt                           time.Time
	ServiceIPv4CIDR                     string
	VPC                                 VPCConfig
	Tags                                map[string]string
}

// VPCConfig is where a cluster lives.
type VPCConfig struct {
	VPC                  vpc.ID
	Subnets              []vpc.SubnetID
	Groups               []vpc.SecurityGroupID
	ClusterGroup         vpc.SecurityGroupID
	EndpointPublicAccess bool
	PublicAccessCIDRs    []string
}

// NodeGroup is a managed node group.
type NodeGroup struct {
	Name, Version, ReleaseVersion, Status, AMIType, CapacityType, NodeRole string
	MinSize, MaxSize, DesiredSize                                          int
	DiskSize                                                               int
	InstanceTypes                                                          []string
	Subnets                                                                []vpc.SubnetID
	AutoScalingGroups                                                      []string
	Labels, Tags                                                           map[string]string
	CreatedAt, ModifiedAt                                                  time.Time
}

// AddonStatus is the state of an add-on.
type AddonStatus string

// States of an add-on, as EKS spells them.
const (
	Creating     AddonStatus = "CREATING"
	Active       AddonStatus = "ACTIVE"
	CreateFailed AddonStatus = "CREATE_FAILED"
	Updating     AddonStatus = "UPDATING"
	UpdateFailed AddonStatus = "UPDATE_FAILED"
	Deleting     AddonStatus = "DELETING"
	DeleteFailed AddonStatus = "DELETE_FAILED"
	Degraded     AddonStatus = "DEGRADED"
)

// busy tells whether a change is under way.
func (s AddonStatus) busy() bool { return s == Creating || s == Updating || s == Deleting }

// Addon is an installed add-on.
type Addon struct {
	Name, Version         string
	Status                AddonStatus
	Issues                []Issue
	ServiceAccountRoleARN string
	ConfigurationValues   string // as the user wrote it
	UpdateID              string // of the change that was applied last
	CreatedAt, ModifiedAt time.Time
	Tags                  map[string]string
}

// Issue says why an add-on is not healthy. Code is one of EKS's, for example InsufficientNumberOfReplicas.
type Issue struct {
	Code, Message string
	Resources     []string
}

// AddonChange is what to do with an add-on. A nil member keeps what there is.
type AddonChange struct {
	Name, UpdateID                                      string
	Create                                              bool
	Version, ServiceAccountRoleARN, ConfigurationValues *string
	// ResolveConflicts is NONE, OVERWRITE or PRESERVE.
	ResolveConflicts string
	Tags             map[string]string
}

// AddonVersion is a version of an add-on that can be installed.
type AddonVersion struct {
	Addon, Version, Type string // Type is for example networking
	Architectures        []string
	ClusterVersions      []string
	// DefaultFor are the cluster versions that get this version when none is asked for.
	DefaultFor []string
	// Schema is the JSON schema of the configuration values; empty means that there are none to set.
	Schema string
}

// Error is an EKS error as it goes over the wire.
type Error struct {
	Status        int
	Code, Message string
}

// Error implements error.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// NotFound says that something is not there.
func NotFound(message string) *Error {
	return &Error{http.StatusNotFound, "ResourceNotFoundException", message}
}

// InvalidParameter says that a value is wrong.
func InvalidParameter(message string) *Error {
	return &Error{http.StatusBadRequest, "InvalidParameterException", message}
}

// InvalidRequest says that a request cannot be served in the present state.
func InvalidRequest(message string) *Error {
	return &Error{http.StatusBadRequest, "InvalidRequestException", message}
}

// InUse says that something exists already or is being changed.
func InUse(message string) *Error {
	return &Error{http.StatusConflict, "ResourceInUseException", message}
}
