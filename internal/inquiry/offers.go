// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package inquiry

import (
	"cmp"
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
)

// Offer is a capability that somebody may ask for, if the rest fits, and the policies that say on what terms.
type Offer struct {
	Capability v1alpha1.Capability
	// NotReady says why it cannot be used at present; empty if it can.
	NotReady string
	// Allows are the Allow policies about it and its requester; there is at least one. Denies are those that could refuse all the same.
	Allows, Denies []v1alpha1.CapabilityPolicy
}

// Offers are the capabilities that some policy lets somebody ask for in a namespace, whatever the repo, the environment and the lifetime.
// The second value says what could not be read for want of rights, a sentence each: the offers are not known then.
func (q *Inquirer) Offers(ctx context.Context, who v1alpha1.Identity, namespace string) ([]Offer, []string, error) {
	capabilities, policies := &v1alpha1.CapabilityList{}, &v1alpha1.CapabilityPolicyList{}
	var unread []string
	if err := q.client.List(ctx, capabilities); apierrors.IsForbidden(err) {
		unread = append(unread, "you may not list capabilities (ClusterRole valetkey-catalogue-viewer)")
	} else if err != nil {
		return nil, nil, fmt.Errorf("listing capabilities: %w", err)
	}
	if err := q.client.List(ctx, policies); apierrors.IsForbidden(err) {
		unread = append(unread, policiesUnread)
	} else if err != nil {
		return nil, nil, fmt.Errorf("listing policies: %w", err)
	}
	if len(unread) > 0 {
		return nil, unread, nil
	}
	compiled := make([]*policy.Compiled, len(policies.Items))
	for i := range policies.Items {
		compiled[i] = q.compiler.Compile(&policies.Items[i])
	}
	var offers []Offer
	for i := range capabilities.Items {
		if capabilities.Items[i].DeletionTimestamp != nil {
			continue
		}
		o := Offer{Capability: capabilities.Items[i]}
		request := &v1alpha1.CapabilityRequest{ObjectMeta: metav1.ObjectMeta{Namespace: namespace},
			Spec: v1alpha1.CapabilityRequestSpec{Capability: o.Capability.Name, Requester: who}}
		for j, p := range compiled {
			o.add(p, &policies.Items[j], request)
		}
		if is, message := ready(&o.Capability); !is {
			o.NotReady = cmp.Or(message, "it is not Ready")
		}
		if len(o.Allows) > 0 {
			offers = append(offers, o)
		}
	}
	return offers, nil, nil
}

// add takes a policy if it is about the request. An Allow that is not valid allows nothing.
func (o *Offer) add(compiled *policy.Compiled, p *v1alpha1.CapabilityPolicy, r *v1alpha1.CapabilityRequest) {
	switch {
	case !compiled.Concerns(r):
	case p.Spec.Effect == v1alpha1.EffectDeny:
		o.Denies = append(o.Denies, *p)
	case compiled.Err() == nil && !compiled.Leaving():
		o.Allows = append(o.Allows, *p)
	}
}
