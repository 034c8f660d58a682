// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package names

import (
	"fmt"
	"strings"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// CheckRevoker says why the revoker role of a capability of AWS could not end its sessions for good. A capability
// without one has sessions that nothing ends before they expire, and nothing is wrong with that.
func CheckRevoker(a *v1alpha1.AWSCapability) error {
	if a == nil || a.RevokerRoleARN == "" {
		return nil
	}
	account, role := roleOf(a.RoleARN)
	revokers, _ := roleOf(a.RevokerRoleARN)
	if account != revokers {
		return fmt.Errorf("revokerRoleARN is of account %s, and roleARN of %s: "+
			"nobody changes a role's inline policies from another account; name a role of account %s", revokers, account, account)
	}
	if SameRole(a.RoleARN, a.RevokerRoleARN) {
		return fmt.Errorf("revokerRoleARN is the capability's own role %s, whose sessions could take the denial away again: "+
			"make a role that does nothing but revoke", role)
	}
	return nil
}

// SameRole reports whether two ARNs are of one role of IAM. A role's name is unique in its account without its path
// and in any case.
func SameRole(a, b string) bool {
	accountA, roleA := roleOf(a)
	accountB, roleB := roleOf(b)
	return accountA == accountB && roleA == roleB
}

// roleOf returns the account of a role, behind the partition of AWS that it is in, and the role's name in lower case.
func roleOf(arn string) (account, name string) {
	prefix, path, _ := strings.Cut(arn, ":role/")
	account = strings.Replace(strings.TrimPrefix(prefix, "arn:"), ":iam::", ":", 1)
	return account, strings.ToLower(path[strings.LastIndex(path, "/")+1:])
}
