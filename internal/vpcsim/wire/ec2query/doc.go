// Package ec2query is the server's half of EC2's query protocol: form requests in, XML out.
//
// It is generic over the structures of the SDK's ec2 package: it decodes a form into an Input by reflection and encodes
// an Output the same way, so a handler has the shape of the SDK's client method. How each member is spelt comes from a
// table that namegen reads out of the pinned SDK; a test fails when the table is stale.
//
//	POST / Action=CreateSubnet&VpcId=…          <CreateSubnetResponse xmlns=…>
//	        │                                          ▲
//	  parse form ─► tree by "." ─► decode[In] ─► handler ─► encode(Out)
//	                   │                │           │
//	             UnknownParameter   bad values   *Error ─► <Response><Errors>…
//
// It knows nothing of VPCs, accounts or signatures, and never panics on what a client sends.
package ec2query

//go:generate go run ./namegen
