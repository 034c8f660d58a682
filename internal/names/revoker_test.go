// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package names

import (
	"strings"
	"testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

func TestCheckRevoker_CouldEndNoSessionForGood(t *testing.T) {
	const role = "arn:aws:iam::123456789012:role/agents/Publisher"
	for _, tt := range []struct{ name, revoker, words string }{
		{"none", "", ""},
		{"a role of its own", "arn:aws:iam::123456789012:role/agents/revoker", ""},
		{"the capability's own role", role, "the capability's own role"},
		{"the capability's own role by another path", "arn:aws:iam::123456789012:role/Publisher", "the capability's own role"},
		{"the capability's own role in another case", "arn:aws:iam::123456789012:role/agents/publisher", "the capability's own role"},
		{"a role of another account", "arn:aws:iam::210987654321:role/agents/revoker", "of account aws:210987654321"},
		{"the same name in another account", "arn:aws:iam::210987654321:role/agents/Publisher", "from another account"},
		{"a role of another partition", "arn:aws-cn:iam::123456789012:role/agents/revoker", "from another account"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := CheckRevoker(&v1alpha1.AWSCapability{RoleARN: role, RevokerRoleARN: tt.revoker})
			if (err == nil) != (tt.words == "") || err != nil && !strings.Contains(err.Error(), tt.words) {
				t.Errorf("got %v, want %q", err, tt.words)
			}
		})
	}
	if err := CheckRevoker(nil); err != nil {
		t.Errorf("of another back end: %v", err)
	}
}
