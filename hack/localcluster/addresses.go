// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package localcluster

import "fmt"

// Addresses that are the same in every cluster, for each is on the loopback device of the cluster's own network.
const (
	// serviceAddress is the one of the Service "kubernetes". The API server itself listens there, so no proxy is needed.
	serviceAddress = "10.96.0.1"
	// ServiceURL is the API server's for Pods, alike in every cluster.
	ServiceURL   = "https://" + serviceAddress
	serviceRange = "10.96.0.0/24"
	// awsAddress is where Pods reach STS, IAM and S3, whatever the cluster's slot.
	awsAddress = "10.96.0.20"
	// vaultAddress is where Pods reach Vault and PostgreSQL, whatever the cluster's slot.
	vaultAddress = "10.96.0.21"
	// issuerAddress is a public one by the books: STS refuses an issuer on a private or loopback address.
	issuerAddress = "203.0.113.10"
	issuerHost    = "oidc.valetkey.test"
	issuerURL     = "https://" + issuerHost

	stsPort = 7078
	s3Port  = 7077
	apiPort = 443

	vaultPort    = 8200
	postgresPort = 5432
)

// NodeName is the name of a cluster's only node.
const NodeName = "node1"

const slots = 254

// slot numbers the clusters that run at one time; everything that must differ between them on the host comes from it.
type slot int

func (s slot) link() string      { return fmt.Sprintf("valetkey%d", s) }
func (s slot) host() string      { return fmt.Sprintf("10.213.%d.1", s) }
func (s slot) inner() string     { return fmt.Sprintf("10.213.%d.2", s) }
func (s slot) podSubnet() string { return fmt.Sprintf("10.214.%d.0/24", s) }
