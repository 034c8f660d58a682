// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package localcluster builds and runs real Kubernetes clusters on one Linux machine, for tests and for trying things
// out: etcd, the API server and the controller manager; on request a node with scheduler, containerd and kubelet; on
// request versitygw, which stands in for AWS STS, IAM and S3 and trusts the cluster's own ServiceAccount issuer.
//
// No container engine and no image registry is needed. The programs are built from the Go modules that hack/pins names,
// once, and kept in the user's cache.
//
// A cluster is one tree of processes in namespaces of its own. Its first process (see package supervisor) has a network
// namespace, joined to the host by one veth pair, a mount namespace and a PID namespace. Every cluster therefore uses the
// same ports and paths inside, many run side by side, and when the first process ends, the kernel takes away all the
// others, their mounts and their network. What is left to remove is the state directory and the node's cgroups.
package localcluster
