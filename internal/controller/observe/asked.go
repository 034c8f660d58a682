// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/exposure"
	"github.com/valetkey/valetkey/internal/rbac"
	"github.com/valetkey/valetkey/internal/visible"
)

// MostAccounts is how many ServiceAccounts of a namespace the API server is asked about one by one, with four
// questions for each. It bounds what a request costs where RBAC is not the only authorizer.
const MostAccounts = 100

// Short names of what a SubjectAccessReview asks and answers.
type (
	reviewSpec   = authorizationv1.SubjectAccessReviewSpec
	reviewStatus = authorizationv1.SubjectAccessReviewStatus
)

// askEach asks the API server about the requester and each ServiceAccount of the namespace. The questions about
// Secrets are shared by all requests of the namespace for a moment.
func (e *look) askEach(ctx context.Context, other string, risks *exposure.Risks) error {
	subjects, tooMany, err := e.subjects(ctx)
	if err != nil {
		return err
	}
	if tooMany {
		risks.Unknown(fmt.Sprintf("who may read Secrets or approve requests in namespace %s is not known: "+
			"the API server has %s, and the namespace has more than %d ServiceAccounts, more than are asked about "+
			"one by one; remove those that are not used, or use another namespace", e.namespace, other, MostAccounts))
		return nil
	}
	questions := exposure.Whole(e.questions)
	allowed := make([]bool, len(subjects)*len(questions))
	group := errgroup.Group{} // it cancels no question: others may wait for its answer
	group.SetLimit(lookupsAtOnce)
	for i := range allowed {
		group.Go(func() error {
			may, err := e.allowed(ctx, subjects[i/len(questions)], questions[i%len(questions)].Access)
			allowed[i] = may
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, may := range allowed {
		if may {
			risks.Add(visible.Name(subjects[i/len(questions)].Username), exposure.Asked, i%len(questions))
		}
	}
	return nil
}

// subjects are the requester and the ServiceAccounts of the namespace. Of too many, no more are read than it takes
// to see that.
func (e *look) subjects(ctx context.Context) (subjects []v1alpha1.Identity, tooMany bool, err error) {
	listed, err := e.Answers.of("accounts/"+e.namespace, answersLast, func() (any, error) {
		var names []string
		err := e.lookups.Do(ctx, e.turn, func() error {
			return e.Live.Each(ctx, &corev1.ServiceAccountList{}, func(account client.Object) bool {
				names = append(names, strings.Clone(account.GetName()))
				return len(names) <= MostAccounts
			}, client.InNamespace(e.namespace))
		})
		return names, err
	})
	if err != nil {
		return nil, false, fmt.Errorf("listing ServiceAccounts: %w", err)
	}
	accounts := listed.([]string)
	subjects = []v1alpha1.Identity{e.requester}
	for _, account := range accounts {
		name := serviceaccount.MakeUsername(e.namespace, account)
		if name != e.requester.Username {
			subjects = append(subjects, v1alpha1.Identity{Username: name, Groups: rbac.GroupsOf(e.namespace)})
		}
	}
	return subjects, len(accounts) > MostAccounts, nil
}

// allowed is what the API server says, now or within the last moment.
func (e *look) allowed(ctx context.Context, who v1alpha1.Identity, access rbac.Access) (bool, error) {
	spec := e.review(who, access)
	key, err := json.Marshal(spec)
	if err != nil {
		return false, err
	}
	answer, err := e.Answers.of(string(key), answersLast, func() (any, error) {
		status, err := e.askAccess(ctx, spec)
		return status.Allowed, err
	})
	if err != nil {
		return false, err
	}
	return answer.(bool), nil
}

func (e *look) askAccess(ctx context.Context, spec reviewSpec) (reviewStatus, error) {
	review := &authorizationv1.SubjectAccessReview{Spec: spec}
	err := e.lookups.Do(ctx, e.turn, func() error { return e.Access.Create(ctx, review) })
	if err != nil {
		return review.Status, fmt.Errorf("asking what %s may do: %w", visible.Name(spec.User), err)
	}
	return review.Status, nil
}

func (e *look) review(who v1alpha1.Identity, access rbac.Access) reviewSpec {
	extra := make(map[string]authorizationv1.ExtraValue, len(who.Extra))
	for key, value := range who.Extra {
		extra[key] = authorizationv1.ExtraValue(value)
	}
	return reviewSpec{
		User: who.Username, UID: who.UID, Groups: who.Groups, Extra: extra,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: e.namespace, Name: access.Name,
			Verb: access.Verb, Group: access.Group, Resource: access.Resource,
		},
	}
}
