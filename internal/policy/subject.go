// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/visible"
)

// serviceAccountPrefix begins the user name of every ServiceAccount.
const serviceAccountPrefix = "system:serviceaccount:"

// matchRequester is matchSubject for whoever asks. If widely is set, names of users and groups are compared without
// case: an authenticator that reports one person in several spellings takes nobody past a Deny.
func matchRequester(s v1alpha1.Subject, who v1alpha1.Identity, widely bool) bool {
	if !widely || s.Kind == v1alpha1.SubjectServiceAccount {
		return matchSubject(s, who.Username, who.Groups)
	}
	s.Name = strings.ToLower(s.Name)
	groups := make([]string, len(who.Groups))
	for i, group := range who.Groups {
		groups[i] = strings.ToLower(group)
	}
	return matchSubject(s, strings.ToLower(who.Username), groups)
}

// matchSubject reports whether the subject names the user, or a group that the user is in.
func matchSubject(s v1alpha1.Subject, username string, groups []string) bool {
	if s.Name == "" || username == "" {
		return false
	}
	switch s.Kind {
	case v1alpha1.SubjectUser:
		return s.Name == username
	case v1alpha1.SubjectGroup:
		return slices.Contains(groups, s.Name)
	case v1alpha1.SubjectServiceAccount:
		return s.Namespace != "" && serviceAccountPrefix+s.Namespace+":"+s.Name == username
	default:
		return false
	}
}

// matchApprover is matchSubject for those who approve. A ServiceAccount is in groups that no person put it in
// (system:authenticated, system:serviceaccounts), so it counts only where it is named as a ServiceAccount.
func matchApprover(s v1alpha1.Subject, username string, groups []string) bool {
	if strings.HasPrefix(username, serviceAccountPrefix) && s.Kind != v1alpha1.SubjectServiceAccount {
		return false
	}
	return matchSubject(s, username, groups)
}

// describeSubject names a subject in a sentence.
func describeSubject(s v1alpha1.Subject) string {
	switch s.Kind {
	case v1alpha1.SubjectServiceAccount:
		return "ServiceAccount " + visible.Name(s.Namespace+"/"+s.Name)
	case v1alpha1.SubjectGroup:
		return "group " + visible.Name(s.Name)
	default:
		return "user " + visible.Name(s.Name)
	}
}
