// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package inquiry

import (
	"context"
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/internal/exposure"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/rbac"
	"github.com/valetkey/valetkey/internal/visible"
)

// surroundings looks at the request's namespace, and at who could read a credential there or approve the request.
func (q *Inquirer) surroundings(ctx context.Context, found *Found) error {
	name := found.Facts.Request.Namespace
	ns := &corev1.Namespace{}
	there, err := q.read(ctx, found, "namespace "+name+": whether agents may work in it is not known", client.ObjectKey{Name: name}, ns)
	if err != nil {
		return err
	}
	if there {
		found.Facts.Unprotected = policy.Unprotected(ns)
	}
	if found.Facts.Job == nil && found.Facts.Request.UID != "" {
		return nil // Of a request that waits for its Job the operator does not ask yet.
	}
	return q.exposure(ctx, found)
}

// exposure adds the risks that the operator finds in roles and bindings. Whoever may not read those can still ask what
// they may do themselves.
func (q *Inquirer) exposure(ctx context.Context, found *Found) error {
	namespace, requester := found.Facts.Request.Namespace, found.Facts.Request.Spec.Requester
	questions := exposure.About(found.Facts.Request.Name)
	risks := exposure.New(namespace, questions)
	risks.Privileged(requester)
	accounts, asks, err := exposure.ByRoles(ctx, rbac.Bounded{Reader: q.client}, namespace, requester, questions)
	switch {
	case apierrors.IsForbidden(err):
		found.Unread = append(found.Unread, fmt.Sprintf("you may not read all roles and their bindings: "+
			"whether an account of namespace %s could read Secrets or approve requests is not known", namespace))
		err = q.own(ctx, found, questions, risks)
	case err == nil:
		risks.Rights(accounts)
		risks.Rights(asks)
	}
	found.Facts.Risks = append(found.Facts.Risks, risks.List()...)
	return err
}

// own asks the API server what the requester may do, if that is who reads. Of others it says nothing.
func (q *Inquirer) own(ctx context.Context, found *Found, questions []exposure.Question, risks *exposure.Risks) error {
	who, err := q.Whoami(ctx)
	if err != nil || who.Username != found.Facts.Request.Spec.Requester.Username {
		return err
	}
	for i, question := range exposure.Whole(questions) {
		may, err := q.may(ctx, found.Facts.Request.Namespace, question.Access)
		if err != nil {
			return err
		}
		if may {
			risks.Add(visible.Name(who.Username), exposure.Asked, i)
		}
	}
	return nil
}

func (q *Inquirer) may(ctx context.Context, namespace string, access rbac.Access) (bool, error) {
	review := &authorizationv1.SelfSubjectAccessReview{}
	review.Spec.ResourceAttributes = &authorizationv1.ResourceAttributes{Namespace: namespace, Name: access.Name,
		Verb: access.Verb, Group: access.Group, Resource: access.Resource}
	if err := q.client.Create(ctx, review); err != nil {
		return false, fmt.Errorf("asking the API server what you may do: %w", err)
	}
	return review.Status.Allowed, nil
}
