// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of every kind in this package.
var GroupVersion = schema.GroupVersion{Group: "valetkey.dev", Version: "v1alpha1"}

// AddToScheme registers the kinds of this package.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&CapabilityProvider{}, &CapabilityProviderList{},
		&Capability{}, &CapabilityList{},
		&CapabilityPolicy{}, &CapabilityPolicyList{},
		&CapabilityRequest{}, &CapabilityRequestList{},
		&CapabilityGrant{}, &CapabilityGrantList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
