package interfaces

import (
	"slices"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/world"
)

// OwnInstance finds an instance that the caller owns.
func (s Actions) OwnInstance(c world.Caller, id string) (*world.Instance, error) {
	return world.Find(&s.State.Instances, world.KindInstance, id, func(i *world.Instance) bool { return i.Owner == string(c.Account) })
}

// AttachNetworkInterface is EC2's action of that name.
func (s Actions) AttachNetworkInterface(c world.Caller, in ec2.AttachNetworkInterfaceInput) (ec2.AttachNetworkInterfaceOutput, error) {
	out := ec2.AttachNetworkInterfaceOutput{NetworkCardIndex: world.Number(in.NetworkCardIndex)}
	e, err := world.Find(&s.State.ENIs, world.KindENI, in.NetworkInterfaceId, func(e *world.ENI) bool {
		return e.Owner == string(c.Account) || slices.Contains(e.AttachableBy, string(c.Account))
	})
	if err != nil {
		return out, err
	}
	i, err := s.OwnInstance(c, in.InstanceId)
	if err != nil {
		return out, err
	}
	if in.DeviceIndex == nil {
		return out, ec2.Errorf("MissingParameter", "The request must contain the parameter deviceIndex")
	}
	if err := s.CheckAttach(e, i, *in.DeviceIndex, out.NetworkCardIndex); err != nil {
		return out, err
	}
	a := s.Attach(e, i, *in.DeviceIndex, out.NetworkCardIndex)
	out.AttachmentId = a.ID
	s.Touch(e)
	s.Schedule(s.After(s.State.Settings.Attach), world.EvAttached, e.ID, a.ID)
	return out, nil
}

// Attach ties an interface to an instance; the attachment is attaching.
func (s Actions) Attach(e *world.ENI, i *world.Instance, device, card int) *world.Attachment {
	e.Attachment = &world.Attachment{
		ID: s.NewID(world.KindAttachment), Instance: i.ID, Status: string(vpc.Attaching), Device: device, Card: card, Time: s.State.Now,
	}
	s.Attachments[e.Attachment.ID] = e.ID
	i.ENIs = append(i.ENIs, e.ID)
	return e.Attachment
}

// CheckAttach tells whether an interface can be attached to an instance at a device index of a card.
func (s Actions) CheckAttach(e *world.ENI, i *world.Instance, device, card int) error {
	switch {
	case i.State != world.Running && i.State != world.Pending:
		return ec2.Errorf("IncorrectInstanceState", "Instance '%s' is not 'running' or 'stopped'.", i.ID)
	case e.Attachment != nil || e.Branch != "":
		return ec2.Errorf("InvalidNetworkInterface.InUse", "Interface '%s' is currently in use.", e.ID)
	case e.Managed != "":
		return ec2.Errorf("OperationNotPermitted", "The network interface '%s' is managed by %s.", e.ID, e.Managed)
	case e.Type == vpc.ENITypeBranch:
		return ec2.Errorf("InvalidParameterValue", "Network interface '%s' of type branch cannot be attached to an instance.", e.ID)
	case e.VPC != i.VPC:
		return ec2.Errorf("InvalidParameterCombination", "Network interface '%s' and instance '%s' are not in the same VPC.", e.ID, i.ID)
	case e.Zone != i.Zone:
		return ec2.Errorf("InvalidParameterCombination",
			"You may not attach a network interface to an instance if they are not in the same availability zone")
	}
	return s.checkRoom(e, i, device, card)
}

// checkRoom holds an interface against the limits of the instance's type and what is attached already.
func (s Actions) checkRoom(e *world.ENI, i *world.Instance, device, card int) error {
	limits, _ := vpc.Limits(i.Type)
	cards := limits.ENIsPerCard
	if card < 0 || card >= max(len(cards), 1) {
		return ec2.Errorf("InvalidParameterValue", "Value (%d) for parameter networkCardIndex is invalid. Instance type %s has %d network cards.",
			card, i.Type, max(len(cards), 1))
	}
	total, limit, onCard := 0, limits.ENIs, 0
	for _, id := range i.ENIs {
		other, ok := s.State.ENIs.Get(id)
		if !ok || other.Attachment == nil {
			continue
		}
		total++
		if other.Attachment.Card == card {
			onCard++
			if other.Attachment.Device == device {
				return ec2.Errorf("InvalidParameterValue",
					"Instance '%s' already has an interface attached at device index '%d'.", i.ID, device)
			}
		}
	}
	if len(cards) > 0 {
		limit = 0
		for _, n := range cards {
			limit += n
		}
	}
	switch {
	case device < 0 || device > 255:
		return ec2.Errorf("InvalidParameterValue", "Value (%d) for parameter deviceIndex is invalid.", device)
	case total >= limit:
		return ec2.Errorf("AttachmentLimitExceeded", "Interface count %d exceeds the limit for %s", total+1, i.Type)
	case len(cards) > 0 && onCard >= cards[card]:
		return ec2.Errorf("AttachmentLimitExceeded", "Interface count %d exceeds the limit for %s on network card %d", onCard+1, i.Type, card)
	case len(e.Addresses)+len(e.Prefixes) > limits.IPv4PerENI:
		return ec2.Errorf("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.")
	case len(e.Prefixes)+len(e.Prefixes6) > 0 && !limits.Nitro():
		return noPrefixes(i.Type)
	case e.Type == vpc.ENITypeTrunk && !limits.Trunk:
		return ec2.Errorf("InvalidParameterCombination", "Instance type %s does not support trunk network interfaces.", i.Type)
	}
	return nil
}

func noPrefixes(instanceType string) error {
	return ec2.Errorf("UnsupportedOperation", "Instance type %s does not support prefixes on network interfaces.", instanceType)
}

// AttachDone completes an attachment.
func (s Actions) AttachDone(id, attachmentID string) {
	e, ok := s.State.ENIs.Get(id)
	if ok && e.Attachment != nil && e.Attachment.ID == attachmentID && e.Attachment.Status == string(vpc.Attaching) {
		e.Attachment.Status = string(vpc.Attached)
		s.Touch(e)
	}
}

// DetachNetworkInterface is EC2's action of that name.
func (s Actions) DetachNetworkInterface(c world.Caller, in ec2.DetachNetworkInterfaceInput) (ec2.Done, error) {
	if err := world.KindAttachment.Check(in.AttachmentId); err != nil {
		return ec2.Done{}, err
	}
	e, ok := s.State.ENIs.Get(s.Attachments[in.AttachmentId])
	if !ok || e.Attachment == nil || e.Attachment.ID != in.AttachmentId || e.Owner != string(c.Account) {
		return ec2.Done{}, world.KindAttachment.Missing(in.AttachmentId)
	}
	switch {
	case e.Managed != "":
		return ec2.Done{}, ec2.Errorf("OperationNotPermitted", "The network interface '%s' is managed by %s.", e.ID, e.Managed)
	case e.Attachment.Device == 0 && e.Attachment.Card == 0:
		return ec2.Done{}, ec2.Errorf("OperationNotPermitted",
			"The network interface at device index 0 and networkCard index 0 cannot be detached.")
	case e.Attachment.Status == string(vpc.Detaching):
		return ec2.Done{}, ec2.Errorf("IncorrectState", "The attachment '%s' is not in a state that allows it to be detached: detaching", in.AttachmentId)
	case s.carries(e.ID):
		return ec2.Done{}, ec2.Errorf("OperationNotPermitted", "The trunk network interface '%s' has branch network interfaces.", e.ID)
	}
	s.detach(e)
	return ec2.Done{}, nil
}

// detach begins to undo an attachment.
func (s Actions) detach(e *world.ENI) {
	e.Attachment.Status = string(vpc.Detaching)
	s.Touch(e)
	s.Schedule(s.After(s.State.Settings.Detach), world.EvDetached, e.ID, e.Attachment.ID)
}

// DetachDone completes a detachment.
func (s Actions) DetachDone(id, attachmentID string) {
	e, ok := s.State.ENIs.Get(id)
	if !ok || e.Attachment == nil || e.Attachment.ID != attachmentID {
		return
	}
	i, ok := s.State.Instances.Get(e.Attachment.Instance)
	s.Unhook(e)
	s.Touch(e)
	if ok {
		s.SyncMetadata(i)
	}
}

// Unhook forgets an attachment.
func (s Actions) Unhook(e *world.ENI) {
	if i, ok := s.State.Instances.Get(e.Attachment.Instance); ok {
		i.ENIs = slices.DeleteFunc(i.ENIs, func(id string) bool { return id == e.ID })
	}
	delete(s.Attachments, e.Attachment.ID)
	e.Attachment = nil
}

// CreateNetworkInterfacePermission is EC2's action of that name.
func (s Actions) CreateNetworkInterfacePermission(c world.Caller, in ec2.CreateNetworkInterfacePermissionInput) (ec2.CreateNetworkInterfacePermissionOutput, error) {
	var out ec2.CreateNetworkInterfacePermissionOutput
	e, err := s.OwnENI(c, in.NetworkInterfaceId)
	if err != nil {
		return out, err
	}
	switch {
	case in.Permission != "INSTANCE-ATTACH" && in.Permission != "EIP-ASSOCIATE":
		return out, ec2.Errorf("InvalidParameterValue", "Value (%s) for parameter permission is invalid.", in.Permission)
	case in.AwsAccountId == "" && in.AwsService == "":
		return out, ec2.Errorf("MissingParameter", "The request must contain the parameter awsAccountId")
	}
	if in.Permission == "INSTANCE-ATTACH" && !slices.Contains(e.AttachableBy, in.AwsAccountId) {
		e.AttachableBy = append(e.AttachableBy, in.AwsAccountId)
	}
	out.InterfacePermission = ec2.NetworkInterfacePermission{
		NetworkInterfacePermissionId: s.RawID("eni-perm"), NetworkInterfaceId: e.ID, Permission: in.Permission,
		AwsAccountId: in.AwsAccountId, AwsService: in.AwsService,
		PermissionState: ec2.NetworkInterfacePermissionState{State: "granted"},
	}
	return out, nil
}

// carries tells whether an interface is a trunk with branches.
func (s Actions) carries(id string) bool {
	for t := range s.State.Trunks.All() {
		if t.TrunkInterfaceId == id {
			return true
		}
	}
	return false
}

// AssociateTrunkInterface is EC2's action of that name.
func (s Actions) AssociateTrunkInterface(c world.Caller, in ec2.AssociateTrunkInterfaceInput) (ec2.AssociateTrunkInterfaceOutput, error) {
	out := ec2.AssociateTrunkInterfaceOutput{ClientToken: in.ClientToken}
	branch, err := s.OwnENI(c, in.BranchInterfaceId)
	if err != nil {
		return out, err
	}
	parent, err := s.OwnENI(c, in.TrunkInterfaceId)
	if err != nil {
		return out, err
	}
	if err := s.checkTrunk(branch, parent, in); err != nil {
		return out, err
	}
	t := &world.Trunk{TrunkInterfaceAssociation: ec2.TrunkInterfaceAssociation{
		AssociationId: s.NewID(world.KindTrunk), BranchInterfaceId: branch.ID, TrunkInterfaceId: parent.ID,
		InterfaceProtocol: "VLAN", VlanId: in.VlanId, GreKey: in.GreKey,
	}}
	if in.GreKey != nil {
		t.InterfaceProtocol = "GRE"
	}
	s.State.Trunks.Put(t.AssociationId, t)
	branch.Branch = t.AssociationId
	s.Touch(branch)
	out.InterfaceAssociation = t.TrunkInterfaceAssociation
	return out, nil
}

func (s Actions) checkTrunk(branch, parent *world.ENI, in ec2.AssociateTrunkInterfaceInput) error {
	switch {
	case branch.Attachment != nil || branch.Branch != "":
		return ec2.Errorf("InvalidParameterValue", "Network interface '%s' is currently in use.", branch.ID)
	case parent.Type != vpc.ENITypeTrunk:
		return ec2.Errorf("InvalidParameterValue", "Network interface '%s' is not a trunk network interface.", parent.ID)
	case branch.Type != vpc.ENITypeBranch:
		return ec2.Errorf("InvalidParameterValue", "Network interface '%s' is not a branch network interface.", branch.ID)
	case branch.VPC != parent.VPC || branch.Zone != parent.Zone:
		return ec2.Errorf("InvalidParameterCombination", "The trunk and branch network interfaces must be in the same VPC and availability zone.")
	case (in.VlanId == nil) == (in.GreKey == nil):
		return ec2.Errorf("InvalidParameterCombination", "Specify either a VLAN ID or a GRE key.")
	case in.VlanId != nil && (*in.VlanId < 1 || *in.VlanId > 4094):
		return ec2.Errorf("InvalidParameterValue", "Value (%d) for parameter vlanId is invalid.", *in.VlanId)
	}
	count := 0
	for t := range s.State.Trunks.All() {
		if t.TrunkInterfaceId != parent.ID {
			continue
		}
		count++
		if t.VlanId != nil && in.VlanId != nil && *t.VlanId == *in.VlanId {
			return ec2.Errorf("InvalidParameterValue", "VLAN ID %d is already in use on trunk network interface '%s'.", *in.VlanId, parent.ID)
		}
	}
	if parent.Attachment == nil {
		return nil
	}
	i, ok := s.State.Instances.Get(parent.Attachment.Instance)
	if !ok {
		return nil
	}
	if limits, _ := vpc.Limits(i.Type); count >= limits.BranchENIs {
		return ec2.Errorf("AttachmentLimitExceeded", "Branch interface count %d exceeds the limit for %s", count+1, i.Type)
	}
	return nil
}

func (s Actions) trunkByID(c world.Caller, id string) (*world.Trunk, error) {
	return world.Find(&s.State.Trunks, world.KindTrunk, id, func(t *world.Trunk) bool {
		e, ok := s.State.ENIs.Get(t.BranchInterfaceId)
		return ok && e.Owner == string(c.Account)
	})
}

// DisassociateTrunkInterface is EC2's action of that name.
func (s Actions) DisassociateTrunkInterface(c world.Caller, in ec2.DisassociateTrunkInterfaceInput) (ec2.DisassociateTrunkInterfaceOutput, error) {
	out := ec2.DisassociateTrunkInterfaceOutput{ClientToken: in.ClientToken}
	t, err := s.trunkByID(c, in.AssociationId)
	if err != nil {
		return out, err
	}
	s.DropTrunk(t)
	out.Return = true
	return out, nil
}

// DropTrunk removes the association of a branch with its trunk.
func (s Actions) DropTrunk(t *world.Trunk) {
	s.State.Trunks.Remove(t.AssociationId)
	if e, ok := s.State.ENIs.Get(t.BranchInterfaceId); ok {
		e.Branch = ""
		s.Touch(e)
	}
}

// DescribeTrunkInterfaceAssociations is EC2's action of that name.
func (s Actions) DescribeTrunkInterfaceAssociations(c world.Caller, in ec2.DescribeTrunkInterfaceAssociationsInput) (ec2.DescribeTrunkInterfaceAssociationsOutput, error) {
	var out ec2.DescribeTrunkInterfaceAssociationsOutput
	all, err := world.List(&s.State.Trunks, in.AssociationIds, func(id string) (*world.Trunk, error) { return s.trunkByID(c, id) },
		func(t *world.Trunk) bool { _, err := s.trunkByID(c, t.AssociationId); return err == nil },
		func(t *world.Trunk) ec2.TrunkInterfaceAssociation { return t.TrunkInterfaceAssociation })
	if err != nil {
		return out, err
	}
	out.InterfaceAssociations, err = ec2.Select(all, in.Filters, trunkFields, nil)
	return out, err
}

var trunkFields = ec2.Fields[ec2.TrunkInterfaceAssociation]{
	"trunk-interface-association.trunk-interface-id": func(t *ec2.TrunkInterfaceAssociation) []string {
		return []string{t.TrunkInterfaceId}
	},
	"trunk-interface-association.branch-interface-id": func(t *ec2.TrunkInterfaceAssociation) []string {
		return []string{t.BranchInterfaceId}
	},
}
