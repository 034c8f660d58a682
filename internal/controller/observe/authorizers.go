// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/exposure"
	"github.com/valetkey/valetkey/internal/rbac"
)

// Nobody is the name of a ServiceAccount that is asked about and need not exist: what it may do, every account of
// its namespace may.
const Nobody = "valetkey-nobody"

// errViewsDiffer: roles have changed a moment ago, and either the cache or the API server does not know it yet.
var errViewsDiffer = errors.New("roles have just changed, and the API server and the operator see them differently; " +
	"it is looked at again")

// otherAuthorizer says, in words, which authorizer beside RBAC may let somebody do something; it is empty where
// there is none. The API server does not list its authorizers. What it shows of them is how it answers:
//   - a SelfSubjectRulesReview is incomplete where an authorizer cannot list its rules, as no webhook can;
//   - a SubjectAccessReview that says no gives the reason of each authorizer that has one, and RBAC's is known;
//   - its answer is the one that RBAC gives.
func (e *look) otherAuthorizer(ctx context.Context, moment Moment) (string, error) {
	if other, err := e.unlisted(ctx); other != "" || err != nil {
		return other, err
	}
	everybody := e.everybody()
	stands := isAccount(e.requester, e.namespace) && !e.Answers.knows(everybody) // for every account of the namespace
	if stands || moment == Issuing && !exposure.Privileged(e.requester) {
		if other, err := e.compare(ctx, e.requester, e.asks); other != "" || err != nil {
			return other, err
		}
	}
	if e.Answers.knows(everybody) {
		return "", nil
	}
	name, groups := serviceaccount.MakeUsername(e.namespace, Nobody), rbac.GroupsOf(e.namespace)
	roles, first := rbac.Reader{Objects: e.Cache}, []rbac.Access{e.questions[0].Access}
	may, err := roles.Of(ctx, e.namespace, rbac.User(name, groups), first)
	if err != nil {
		return "", err
	}
	return e.compare(ctx, v1alpha1.Identity{Username: name, Groups: groups}, may)
}

// everybody is what is remembered once the API server gave RBAC's answer about any account of the namespace: no
// other authorizer gives them all something, as far as it shows.
func (e *look) everybody() string { return "as RBAC/" + e.namespace + "/" + e.accounts.Basis }

// isAccount reports whether somebody is a ServiceAccount of a namespace, with the groups that every one of them is in.
func isAccount(who v1alpha1.Identity, namespace string) bool {
	for _, group := range rbac.GroupsOf(namespace) {
		if !slices.Contains(who.Groups, group) {
			return false
		}
	}
	return strings.HasPrefix(who.Username, serviceaccount.MakeUsername(namespace, ""))
}

// unlisted says whether an authorizer cannot list its rules.
func (e *look) unlisted(ctx context.Context) (string, error) {
	answer, err := e.Answers.of("authorizers", authorizersLast, func() (any, error) {
		review := &authorizationv1.SelfSubjectRulesReview{}
		review.Spec.Namespace = e.namespace
		err := e.Access.Create(ctx, review)
		if err == nil && review.Status.Incomplete {
			return "an authorizer that cannot list its rules, such as a webhook", nil
		}
		return "", err
	})
	if err != nil {
		return "", fmt.Errorf("asking how the API server authorizes: %w", err)
	}
	return answer.(string), nil
}

// compare asks the API server the first question about somebody, and says which other authorizer shows in its
// answer. The answer is believed for as long as no role or binding of theirs changes, within the time for which the
// authorizers are.
func (e *look) compare(ctx context.Context, who v1alpha1.Identity, found rbac.Rights) (string, error) {
	spec := e.review(who, e.questions[0].Access)
	key, err := json.Marshal(spec)
	if err != nil {
		return "", err
	}
	answer, err := e.Answers.of("as RBAC/"+string(key)+found.Basis, authorizersLast, func() (any, error) {
		status, err := e.askAccess(ctx, spec)
		if err != nil {
			return "", err
		}
		if other := otherThanRBAC(status); other != "" {
			return other, nil
		}
		if status.Allowed != found.Allows(0) {
			return "", errViewsDiffer
		}
		if isAccount(who, e.namespace) {
			e.Answers.note(e.everybody(), "", authorizersLast)
		}
		return "", nil
	})
	if err != nil {
		return "", err
	}
	return answer.(string), nil
}

// otherThanRBAC says which authorizer but RBAC had a part in an answer, if that shows. RBAC gives a reason for each
// yes, and for a no only when a role does not exist.
func otherThanRBAC(status reviewStatus) string {
	if status.EvaluationError != "" || status.Denied {
		return "an authorizer that refuses, or fails, by itself"
	}
	reasons := slices.Collect(strings.Lines(status.Reason))
	byRBAC := func(line string) bool {
		// Newer API servers put the authorizer's name before the reasons of a no.
		return strings.HasPrefix(strings.TrimPrefix(line, "rbac: "), "RBAC: ")
	}
	switch {
	case status.Allowed && len(reasons) == 0:
		return "an authorizer that gives no reasons"
	case slices.ContainsFunc(reasons, func(line string) bool { return !byRBAC(line) }):
		return "an authorizer that gives reasons which are not RBAC's"
	}
	return ""
}
