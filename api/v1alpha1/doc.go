// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 holds the five kinds of Valetkey. The catalogue is cluster-scoped and kept in Git:
// CapabilityProvider, Capability and CapabilityPolicy. The work is namespaced: CapabilityRequest, written by an
// agent, and CapabilityGrant, written by the operator alone.
//
// +kubebuilder:object:generate=true
// +groupName=valetkey.dev
package v1alpha1
