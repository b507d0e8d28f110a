package ec2api

import (
	"fmt"
	"reflect"
	"time"
)

var timeType = reflect.TypeFor[time.Time]()

// emptyTexts are the texts that EC2 answers also when they are empty; every other empty text is an absent member.
var emptyTexts = map[string]bool{
	"Tag.Value": true, "TagDescription.Value": true,
	"NetworkInterface.Description": true, "InstanceNetworkInterface.Description": true, "SecurityGroup.Description": true,
	"Instance.PrivateDnsName": true, "Instance.PublicDnsName": true, "Instance.StateTransitionReason": true,
}

// absentLists are the lists that EC2 leaves out when they are empty; every other list is answered as an empty element,
// which a client shows as []. A key without a type is for all types.
var absentLists = map[string]bool{
	"Tags": true, "Ipv4Prefixes": true, "Ipv6Prefixes": true, "Vpc.Ipv6CidrBlockAssociationSet": true,
	"AssignedPrivateIpAddresses": true, "AssignedIpv4Prefixes": true, "AssignedIpv6Addresses": true, "AssignedIpv6Prefixes": true,
	"UnassignedIpv6Addresses": true, "UnassignedIpv6Prefixes": true,
}

// fromSDK copies a request: members that dst does not have are ignored, absent ones stay zero.
func fromSDK(dst, src reflect.Value) {
	switch dst.Kind() {
	case reflect.Struct:
		if dst.Type() == timeType {
			dst.Set(src)
			return
		}
		for i := range dst.NumField() {
			if field := src.FieldByName(dst.Type().Field(i).Name); field.IsValid() {
				fromSDKField(dst.Field(i), field)
			}
		}
	case reflect.Slice:
		if src.IsNil() {
			return
		}
		dst.Set(reflect.MakeSlice(dst.Type(), src.Len(), src.Len()))
		for i := range src.Len() {
			fromSDKField(dst.Index(i), src.Index(i))
		}
	case reflect.String:
		dst.SetString(src.String())
	case reflect.Bool:
		dst.SetBool(src.Bool())
	case reflect.Int:
		dst.SetInt(src.Int())
	default: // mustMatch lets nothing else through
	}
}

func fromSDKField(dst, src reflect.Value) {
	if src.Kind() == reflect.Pointer {
		if src.IsNil() {
			return
		}
		src = src.Elem()
	}
	if dst.Kind() == reflect.Pointer {
		dst.Set(reflect.New(dst.Type().Elem()))
		dst = dst.Elem()
	}
	fromSDK(dst, src)
}

// toSDK copies a reply. mustMatch saw to it that only simOnlyMembers are dropped.
func toSDK(dst, src reflect.Value) {
	t := src.Type()
	for i := range t.NumField() {
		name := t.Field(i).Name
		if field := dst.FieldByName(name); field.IsValid() {
			toSDKMember(field, src.Field(i), t.Name()+"."+name, name)
		}
	}
}

func toSDKMember(dst, src reflect.Value, key, name string) {
	if src.Kind() == reflect.Pointer {
		if src.IsNil() {
			return
		}
		src = src.Elem()
	}
	switch {
	case src.Kind() == reflect.String && src.Len() == 0 && !emptyTexts[key]:
		return
	case src.Kind() == reflect.Slice && src.Len() == 0 && (absentLists[key] || absentLists[name]):
		return
	case src.Type() == timeType && src.IsZero():
		return
	}
	if dst.Kind() == reflect.Pointer {
		dst.Set(reflect.New(dst.Type().Elem()))
		dst = dst.Elem()
	}
	toSDKValue(dst, src)
}

func toSDKValue(dst, src reflect.Value) {
	switch src.Kind() {
	case reflect.Struct:
		if src.Type() == timeType {
			dst.Set(src)
			return
		}
		toSDK(dst, src)
	case reflect.Slice:
		dst.Set(reflect.MakeSlice(dst.Type(), src.Len(), src.Len()))
		for i := range src.Len() {
			toSDKValue(dst.Index(i), src.Index(i))
		}
	case reflect.String:
		dst.SetString(src.String())
	case reflect.Bool:
		dst.SetBool(src.Bool())
	case reflect.Int:
		dst.SetInt(src.Int())
	default: // mustMatch lets nothing else through
	}
}

// simOnlyMembers are members of the simulator's structures, by the SDK's name of the structure, that no client can send or
// see: the simulator uses one structure where EC2 has several. They stay zero in requests and are dropped from replies.
var simOnlyMembers = map[string]bool{
	"InstanceNetworkInterfaceAssociation.AssociationId":  true,
	"InstanceNetworkInterfaceAssociation.AllocationId":   true,
	"InstanceNetworkInterfaceAttachment.InstanceOwnerId": true,
	"InstanceNetworkInterfaceAttachment.InstanceId":      true,
	"AuthorizeSecurityGroupEgressInput.GroupName":        true,
	"RevokeSecurityGroupEgressInput.GroupName":           true,
	"DeleteInternetGatewayInput.VpcId":                   true,
	"RunInstancesInput.SecondaryPrivateIpAddressCount":   true,
	"InstanceMetadataOptionsRequest.State":               true,
}

// mustMatch panics unless each member of a structure of the simulator's has its counterpart in the SDK's.
func mustMatch(sim, sdk reflect.Type, path string) {
	for sim.Kind() == reflect.Pointer {
		sim = sim.Elem()
	}
	for sdk.Kind() == reflect.Pointer {
		sdk = sdk.Elem()
	}
	same := sim.Kind() == sdk.Kind() || (sim.Kind() == reflect.Int && (sdk.Kind() == reflect.Int32 || sdk.Kind() == reflect.Int64))
	if !same || (sim == timeType) != (sdk == timeType) {
		panic(fmt.Sprintf("ec2api: %s is a %s here and a %s in the SDK", path, sim, sdk))
	}
	switch {
	case sim.Kind() == reflect.Slice:
		mustMatch(sim.Elem(), sdk.Elem(), path+"[]")
	case sim.Kind() == reflect.Struct && sim != timeType:
		for f := range sim.Fields() {
			g, ok := sdk.FieldByName(f.Name)
			if !ok && simOnlyMembers[sdk.Name()+"."+f.Name] {
				continue
			}
			if !ok {
				panic(fmt.Sprintf("ec2api: the SDK has no %s.%s (%s)", sdk.Name(), f.Name, path))
			}
			mustMatch(f.Type, g.Type, path+"."+f.Name)
		}
	}
}
