// Package world is the lab's one long-running process: it puts the simulated VPC, its network, the APIs, the control
// plane and the nodes together, keeps them going, and takes them away again.
//
//	berth-lab serve
//	  vpcsim ---- topology ----> fabric (namespaces, links, routes)
//	    |  \                        |-- control plane's namespace: etcd, API server, ...
//	    |   '- EC2, EKS, STS        |-- one namespace per node: containerd, kubelet, kube-proxy, pods
//	    |      on the loopback      '-- 169.254.169.254 one link outside each: metadata, EC2, STS
//	    '- snapshot on disk after each change
//
// Everything that it starts dies with it. What cannot die (namespaces, control groups, mounts, files) carries its name,
// is found by the next start, which goes on from the snapshot as after a power failure, and is removed by [Sweep].
package world
