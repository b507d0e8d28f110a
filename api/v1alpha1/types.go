package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of this package's types.
var GroupVersion = schema.GroupVersion{Group: "berth-net.github.io", Version: "v1alpha1"}

// NodeSettings makes settings of the agent for the nodes that a selector selects. They come before the environment of the
// DaemonSet; of several resources that select a node and make a setting, that of the highest priority counts.
//
// +kubebuilder:resource:scope=Cluster,shortName=bns
// +kubebuilder:printcolumn:name="Priority",type=integer,JSONPath=`.spec.priority`
// +kubebuilder:printcolumn:name="Prefixes",type=boolean,JSONPath=`.spec.prefixDelegation`
// +kubebuilder:printcolumn:name="Warm-IPs",type=integer,JSONPath=`.spec.pool.warmIPTarget`
// +kubebuilder:printcolumn:name="Warm-Prefixes",type=integer,JSONPath=`.spec.pool.warmPrefixTarget`,priority=1
// +kubebuilder:printcolumn:name="Warm-ENIs",type=integer,JSONPath=`.spec.pool.warmENITarget`,priority=1
// +kubebuilder:printcolumn:name="Max-ENI",type=integer,JSONPath=`.spec.pool.maxENI`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type NodeSettings struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is the nodes and their settings.
	Spec NodeSettingsSpec `json:"spec"`
}

// NodeSettingsSpec is the nodes and their settings. A setting that is left out is not made.
type NodeSettingsSpec struct {
	// NodeSelector selects nodes by their labels. An empty one selects all.
	// +required
	NodeSelector *metav1.LabelSelector `json:"nodeSelector"`
	// Priority decides between resources that select the same node: the higher counts, at equal priority the first by name.
	// +kubebuilder:validation:Minimum=-1000000
	// +kubebuilder:validation:Maximum=1000000
	// +kubebuilder:default=0
	Priority int32 `json:"priority,omitempty"`
	// Pool is how many addresses and interfaces are kept ready.
	Pool PoolSettings `json:"pool,omitempty"`
	// PrefixDelegation gives interfaces /28 prefixes in place of single addresses: ENABLE_PREFIX_DELEGATION.
	PrefixDelegation *bool `json:"prefixDelegation,omitempty"`
	// SubnetDiscovery uses all tagged subnets of the node's zone: ENABLE_SUBNET_DISCOVERY.
	SubnetDiscovery *bool `json:"subnetDiscovery,omitempty"`
	// ReservePrefixes lets the agent set parts of subnets aside for prefixes.
	ReservePrefixes *bool `json:"reservePrefixes,omitempty"`
}

// PoolSettings are the settings of the warm pool, named and meant as the variables of the agent.
type PoolSettings struct {
	// WarmENITarget is how many free interfaces' worth of addresses are kept ready: WARM_ENI_TARGET.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	WarmENITarget *int32 `json:"warmENITarget,omitempty"`
	// WarmIPTarget is how many free addresses are kept ready, 0 for no such target: WARM_IP_TARGET.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	WarmIPTarget *int32 `json:"warmIPTarget,omitempty"`
	// MinimumIPTarget is the least number of addresses on the node, 0 for no such target: MINIMUM_IP_TARGET.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	MinimumIPTarget *int32 `json:"minimumIPTarget,omitempty"`
	// WarmPrefixTarget is how many free prefixes are kept ready: WARM_PREFIX_TARGET.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	WarmPrefixTarget *int32 `json:"warmPrefixTarget,omitempty"`
	// MaxENI is the most interfaces of the node, the primary one included; 0 for as many as the instance type takes: MAX_ENI.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	MaxENI *int32 `json:"maxENI,omitempty"`
	// IPCooldownPeriod is how long the address of a deleted pod is not given to another one, from 0s to 1h: IP_COOLDOWN_PERIOD.
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('1h')",message="must be from 0s to 1h"
	IPCooldownPeriod *metav1.Duration `json:"ipCooldownPeriod,omitempty"`
}

// NodeSettingsList is a list of NodeSettings.
type NodeSettingsList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []NodeSettings `json:"items"`
}
