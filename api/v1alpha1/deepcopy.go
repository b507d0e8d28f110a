package v1alpha1

import "k8s.io/apimachinery/pkg/runtime"

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	return new(*p)
}

// DeepCopy returns a copy that shares nothing with s.
func (s *NodeSettings) DeepCopy() *NodeSettings {
	if s == nil {
		return nil
	}
	out := *s
	s.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	out.Spec = *s.Spec.DeepCopy()
	return &out
}

// DeepCopyObject implements runtime.Object.
func (s *NodeSettings) DeepCopyObject() runtime.Object { return s.DeepCopy() }

// DeepCopy returns a copy that shares nothing with s.
func (s *NodeSettingsSpec) DeepCopy() *NodeSettingsSpec {
	if s == nil {
		return nil
	}
	out := *s
	out.NodeSelector = s.NodeSelector.DeepCopy()
	out.PrefixDelegation, out.SubnetDiscovery, out.ReservePrefixes = clone(s.PrefixDelegation), clone(s.SubnetDiscovery), clone(s.ReservePrefixes)
	out.Pool = PoolSettings{
		WarmENITarget: clone(s.Pool.WarmENITarget), WarmIPTarget: clone(s.Pool.WarmIPTarget), MinimumIPTarget: clone(s.Pool.MinimumIPTarget),
		WarmPrefixTarget: clone(s.Pool.WarmPrefixTarget), MaxENI: clone(s.Pool.MaxENI), IPCooldownPeriod: clone(s.Pool.IPCooldownPeriod),
	}
	return &out
}

// DeepCopy returns a copy that shares nothing with l.
func (l *NodeSettingsList) DeepCopy() *NodeSettingsList {
	if l == nil {
		return nil
	}
	out := *l
	l.ListMeta.DeepCopyInto(&out.ListMeta)
	if l.Items != nil {
		out.Items = make([]NodeSettings, len(l.Items))
		for i := range l.Items {
			out.Items[i] = *l.Items[i].DeepCopy()
		}
	}
	return &out
}

// DeepCopyObject implements runtime.Object.
func (l *NodeSettingsList) DeepCopyObject() runtime.Object { return l.DeepCopy() }
