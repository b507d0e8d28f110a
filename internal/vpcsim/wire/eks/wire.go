package eks

import (
	"encoding/base64"
	"hash/fnv"
	"strconv"
	"strings"
	"time"
)

// The structures of the wire: members in lower camel case, times as seconds since 1970.

type wireTime time.Time

// MarshalJSON implements json.Marshaler.
func (t wireTime) MarshalJSON() ([]byte, error) {
	u := time.Time(t)
	if u.IsZero() {
		return []byte("null"), nil
	}
	const milliseconds = 3
	return strconv.AppendFloat(nil, float64(u.UnixMilli())/1000, 'f', milliseconds, 64), nil
}

type wireCluster struct {
	Name                    string            `json:"name"`
	Arn                     string            `json:"arn"`
	CreatedAt               wireTime          `json:"createdAt"`
	Version                 string            `json:"version"`
	Endpoint                string            `json:"endpoint"`
	RoleArn                 string            `json:"roleArn,omitempty"`
	ResourcesVpcConfig      wireVPCConfig     `json:"resourcesVpcConfig"`
	KubernetesNetworkConfig map[string]string `json:"kubernetesNetworkConfig"`
	Logging                 map[string]any    `json:"logging"`
	Identity                any               `json:"identity,omitempty"`
	Status                  string            `json:"status"`
	CertificateAuthority    map[string]string `json:"certificateAuthority"`
	PlatformVersion         string            `json:"platformVersion,omitempty"`
	Tags                    map[string]string `json:"tags"`
	Health                  map[string]any    `json:"health"`
}

type wireVPCConfig struct {
	SubnetIDs              []string `json:"subnetIds"`
	SecurityGroupIDs       []string `json:"securityGroupIds"`
	ClusterSecurityGroupID string   `json:"clusterSecurityGroupId"`
	VpcID                  string   `json:"vpcId"`
	EndpointPublicAccess   bool     `json:"endpointPublicAccess"`
	EndpointPrivateAccess  bool     `json:"endpointPrivateAccess"`
	PublicAccessCidrs      []string `json:"publicAccessCidrs"`
}

type wireAddon struct {
	AddonName             string            `json:"addonName"`
	ClusterName           string            `json:"clusterName"`
	Status                AddonStatus       `json:"status"`
	AddonVersion          string            `json:"addonVersion"`
	Health                wireHealth        `json:"health"`
	AddonArn              string            `json:"addonArn"`
	CreatedAt             wireTime          `json:"createdAt"`
	ModifiedAt            wireTime          `json:"modifiedAt"`
	ServiceAccountRoleArn string            `json:"serviceAccountRoleArn,omitempty"`
	Tags                  map[string]string `json:"tags"`
	ConfigurationValues   string            `json:"configurationValues,omitempty"`
}

type wireHealth struct {
	Issues []wireIssue `json:"issues"`
}

type wireIssue struct {
	Code        string   `json:"code"`
	Message     string   `json:"message"`
	ResourceIDs []string `json:"resourceIds,omitempty"`
}

type wireUpdate struct {
	ID        string           `json:"id"`
	Status    string           `json:"status"`
	Type      string           `json:"type"`
	Params    []wireParam      `json:"params"`
	CreatedAt wireTime         `json:"createdAt"`
	Errors    []wireErrorEntry `json:"errors"`
}

type wireParam struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

type wireErrorEntry struct {
	ErrorCode    string   `json:"errorCode"`
	ErrorMessage string   `json:"errorMessage"`
	ResourceIDs  []string `json:"resourceIds,omitempty"`
}

type wireNodeGroup struct {
	NodegroupName  string            `json:"nodegroupName"`
	NodegroupArn   string            `json:"nodegroupArn"`
	ClusterName    string            `json:"clusterName"`
	Version        string            `json:"version"`
	ReleaseVersion string            `json:"releaseVersion,omitempty"`
	CreatedAt      wireTime          `json:"createdAt"`
	ModifiedAt     wireTime          `json:"modifiedAt"`
	Status         string            `json:"status"`
	CapacityType   string            `json:"capacityType,omitempty"`
	ScalingConfig  map[string]int    `json:"scalingConfig"`
	InstanceTypes  []string          `json:"instanceTypes"`
	Subnets        []string          `json:"subnets"`
	AmiType        string            `json:"amiType,omitempty"`
	NodeRole       string            `json:"nodeRole,omitempty"`
	Labels         map[string]string `json:"labels"`
	Resources      map[string]any    `json:"resources"`
	DiskSize       int               `json:"diskSize,omitempty"`
	Health         wireHealth        `json:"health"`
	Tags           map[string]string `json:"tags"`
}

func texts[T ~string](in []T) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = string(s)
	}
	return out
}

func (s *Service) cluster(c Cluster) wireCluster {
	w := wireCluster{
		Name: c.Name, Arn: c.ARN, CreatedAt: wireTime(c.CreatedAt), Version: c.Version, Endpoint: c.Endpoint, RoleArn: c.RoleARN,
		ResourcesVpcConfig: wireVPCConfig{
			SubnetIDs: texts(c.VPC.Subnets), SecurityGroupIDs: texts(c.VPC.Groups), ClusterSecurityGroupID: string(c.VPC.ClusterGroup),
			VpcID: string(c.VPC.VPC), EndpointPublicAccess: c.VPC.EndpointPublicAccess, EndpointPrivateAccess: true,
			PublicAccessCidrs: append([]string{}, c.VPC.PublicAccessCIDRs...),
		},
		KubernetesNetworkConfig: map[string]string{"ipFamily": "ipv4"},
		Logging:                 map[string]any{"clusterLogging": []any{}},
		Status:                  c.Status,
		CertificateAuthority:    map[string]string{"data": base64.StdEncoding.EncodeToString(c.CertificateAuthority)},
		PlatformVersion:         c.PlatformVersion,
		Tags:                    s.tagsOf(c.ARN, c.Tags),
		Health:                  map[string]any{"issues": []any{}},
	}
	if c.ServiceIPv4CIDR != "" {
		w.KubernetesNetworkConfig["serviceIpv4Cidr"] = c.ServiceIPv4CIDR
	}
	if c.OIDCIssuer != "" {
		w.Identity = map[string]any{"oidc": map[string]string{"issuer": c.OIDCIssuer}}
	}
	return w
}

func (s *Service) addon(c Cluster, a Addon) wireAddon {
	arn := resourceARN(c, "addon", a.Name)
	w := wireAddon{
		AddonName: a.Name, ClusterName: c.Name, Status: a.Status, AddonVersion: a.Version, AddonArn: arn,
		Health: wireHealth{Issues: []wireIssue{}}, CreatedAt: wireTime(a.CreatedAt), ModifiedAt: wireTime(a.ModifiedAt),
		ServiceAccountRoleArn: a.ServiceAccountRoleARN, ConfigurationValues: a.ConfigurationValues, Tags: s.tagsOf(arn, a.Tags),
	}
	for _, i := range a.Issues {
		w.Health.Issues = append(w.Health.Issues, wireIssue{Code: i.Code, Message: i.Message, ResourceIDs: i.Resources})
	}
	return w
}

func (s *Service) nodeGroup(c Cluster, g NodeGroup) wireNodeGroup {
	arn := resourceARN(c, "nodegroup", g.Name)
	groups := make([]map[string]string, 0, len(g.AutoScalingGroups))
	for _, name := range g.AutoScalingGroups {
		groups = append(groups, map[string]string{"name": name})
	}
	return wireNodeGroup{
		NodegroupName: g.Name, NodegroupArn: arn, ClusterName: c.Name, Version: g.Version, ReleaseVersion: g.ReleaseVersion,
		CreatedAt: wireTime(g.CreatedAt), ModifiedAt: wireTime(g.ModifiedAt), Status: g.Status, CapacityType: g.CapacityType,
		ScalingConfig: map[string]int{"minSize": g.MinSize, "maxSize": g.MaxSize, "desiredSize": g.DesiredSize},
		InstanceTypes: append([]string{}, g.InstanceTypes...), Subnets: texts(g.Subnets), AmiType: g.AMIType, NodeRole: g.NodeRole,
		Labels: orEmpty(g.Labels), Resources: map[string]any{"autoScalingGroups": groups}, DiskSize: g.DiskSize,
		Health: wireHealth{Issues: []wireIssue{}}, Tags: s.tagsOf(arn, g.Tags),
	}
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// resourceARN names something of a cluster. Its last part, which EKS draws at random, is made from the name.
func resourceARN(c Cluster, kind, name string) string {
	prefix, _, _ := strings.Cut(c.ARN, ":cluster/")
	h := fnv.New128a()
	h.Write([]byte(kind + "/" + c.Name + "/" + name))
	return prefix + ":" + kind + "/" + c.Name + "/" + name + "/" + uuid(h.Sum(nil))
}
