// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package names_test

import (
	"testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/names"
)

// TestCheckScope_ValuesThatMeetInOnePlace: a Deny of one repo would be walked around by an environment of its name.
func TestCheckScope_ValuesThatMeetInOnePlace(t *testing.T) {
	parameters := func(of ...string) v1alpha1.CapabilitySpec {
		c := &v1alpha1.VaultCapability{Path: "pki/issue/previews"}
		for i := 0; i < len(of); i += 2 {
			c.Parameters = append(c.Parameters, v1alpha1.VaultParameter{Name: of[i], Value: of[i+1]})
		}
		return v1alpha1.CapabilitySpec{Vault: c}
	}
	statements := func(of ...string) v1alpha1.CapabilitySpec {
		c := &v1alpha1.AWSCapability{}
		for i := 0; i < len(of); i += 2 {
			c.Scope = append(c.Scope, v1alpha1.AWSStatement{Actions: []string{of[i]}, Resources: []string{of[i+1]}})
		}
		return v1alpha1.CapabilitySpec{AWS: c}
	}
	const repo, environment = "${request.repo}", "${request.environment}"
	for name, row := range map[string]struct {
		spec v1alpha1.CapabilitySpec
		good bool
	}{
		"two names of a certificate":      {parameters("common_name", repo+".example.com", "alt_names", environment+".example.com"), false},
		"two in one list":                 {parameters("alt_names", repo+".example.com,"+environment+".example.com"), false},
		"two in one list, behind a blank": {parameters("alt_names", repo+".example.com, "+environment+".example.com"), false},
		"two, in capitals":                {parameters("common_name", repo+".example.com", "alt_names", environment+".Example.com"), false},
		"two, with a dot at the end":      {parameters("common_name", repo+".example.com", "alt_names", environment+".example.com."), false},
		"two, one of another kind": {parameters("common_name", repo+".example.com",
			"other_sans", "1.3.6.1.4.1.311.20.2.3;UTF8:"+environment+".example.com"), false},
		"the same name twice": {parameters("common_name", repo+".example.com", "alt_names", repo+".example.com,"+repo+".example.org"), true},
		"names in domains of their own": {parameters("common_name", repo+".repos.example.com",
			"alt_names", environment+".environments.example.com"), true},
		"parameters of other names": {parameters("repo", repo, "environment", environment), true},
		"two actions that read the same": {statements("s3:GetObject", "arn:aws:s3:::b/"+repo+"/*",
			"s3:GetObjectVersion", "arn:aws:s3:::b/"+environment+"/*"), false},
		"the same values in the same order": {statements("s3:GetObject", "arn:aws:s3:::b/"+repo+"/*",
			"s3:PutObject", "arn:aws:s3:::b/"+repo+"/*"), true},
		"a place for everybody, by another action": {statements("s3:GetObject", "arn:aws:s3:::b/*",
			"s3:PutObject", "arn:aws:s3:::b/"+repo+"/*"), true},
		"a place for everybody, by the same action": {statements("s3:Get*", "arn:aws:s3:::b/*",
			"s3:GetObject", "arn:aws:s3:::b/"+repo+"/*"), false},
	} {
		if err := names.CheckScope(&v1alpha1.Capability{Spec: row.spec}); (err == nil) != row.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}
