// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/exposure"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/rbac"
)

// Moment is when it is asked who could read a credential.
type Moment bool

const (
	// Deciding is while a request is decided on. Nothing is issued by it alone.
	Deciding Moment = false
	// Issuing is right before a credential is minted or delivered: the API server itself is asked about the requester.
	Issuing Moment = true
)

// look is one look at who could read a credential or approve its request.
type look struct {
	*Observer
	turn      Turn
	namespace string
	requester v1alpha1.Identity
	questions []exposure.Question
	// accounts and asks are what RBAC gives to the namespace's ServiceAccounts and to the requester.
	accounts, asks rbac.Rights
}

// Exposure finds out whether the requester, or any ServiceAccount of the namespace, could read the credential or
// approve the request. Every ServiceAccount counts, not the Job's alone: who may create a Job can run as any of
// them. What RBAC gives is read from the cache. Whether RBAC alone decides is found out as decision 11 says; where
// it does not, the API server is asked about each account.
func (o *Observer) Exposure(
	ctx context.Context, request *v1alpha1.CapabilityRequest, moment Moment,
) ([]policy.Risk, error) {
	e := &look{Observer: o, turn: turnOf(request), namespace: request.Namespace, requester: request.Spec.Requester}
	e.questions = exposure.About(request.Name)
	err := o.look(ctx, request, func() (err error) {
		e.accounts, e.asks, err = exposure.ByRoles(ctx, e.Cache, e.namespace, e.requester, e.questions)
		return err
	})
	if err != nil {
		return nil, err
	}
	risks := exposure.New(e.namespace, e.questions)
	risks.Privileged(e.requester)
	risks.Rights(e.accounts)
	risks.Rights(e.asks)
	if e.accounts.TooMany || e.asks.TooMany || e.accounts.Cut || e.asks.Cut {
		return risks.List(), nil // What the API server says of it is another matter.
	}
	other, err := e.otherAuthorizer(ctx, moment)
	if err != nil {
		return nil, err
	}
	if other != "" {
		if err := e.askEach(ctx, other, risks); err != nil {
			return nil, err
		}
	}
	return risks.List(), nil
}
