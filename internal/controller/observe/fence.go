// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/guard"
	"github.com/valetkey/valetkey/internal/policy"
)

// InForce is how long after it was stored an admission rule is taken to be in force in every API server. What was created
// within this time of the youngest rule counts as older than the guard.
const InForce = 5 * time.Second

// Fence is what protects a request and its Job from their surroundings.
type Fence struct {
	// Reason is why nothing may be decided or issued; empty when the fence is whole.
	Reason string
	// Message says it to a person.
	Message string
	// Final: waiting cannot help.
	Final bool
}

// guardStatus compares the admission rules with the shipped ones, once for each change of them.
func (o *Observer) guardStatus(ctx context.Context) (guard.Status, error) {
	return o.guarded.get(&o.World, func() (guard.Status, error) { return o.Guard.Check(ctx) })
}

// Fence looks at the admission rules and at the namespace. The objects are those that must not be older than the rules.
func (o *Observer) Fence(ctx context.Context, namespace string, objects ...metav1.Object) (Fence, error) {
	status, err := o.guardStatus(ctx)
	if err != nil {
		return Fence{}, err
	}
	if !status.Whole() {
		return Fence{Reason: v1alpha1.ReasonGuardIncomplete, Message: status.Message()}, nil
	}
	for _, object := range objects {
		if created := object.GetCreationTimestamp(); created.Time.Before(status.Since.Add(InForce)) {
			return Fence{Reason: v1alpha1.ReasonNotGuarded, Final: true, Message: fmt.Sprintf(
				"%s was created before the admission rules were in force (since %s); create the request and its Job again",
				object.GetName(), status.Since.Add(InForce).UTC().Format(time.RFC3339))}, nil
		}
	}
	ns := &corev1.Namespace{}
	if err := o.Cache.Get(ctx, client.ObjectKey{Name: namespace}, ns); err != nil {
		return Fence{}, fmt.Errorf("looking up namespace %s: %w", namespace, err)
	}
	return Protection(ns), nil
}

// GuardedSince reports whether the admission rules are installed and unmodified, and were already in force at an instant.
func (o *Observer) GuardedSince(ctx context.Context, then time.Time) (bool, error) {
	status, err := o.guardStatus(ctx)
	if err != nil {
		return false, err
	}
	return status.Whole() && !then.Before(status.Since.Add(InForce)), nil
}

// Guarded says why a request that is created now would not be under the guard; nil when it would.
func (o *Observer) Guarded(ctx context.Context) error {
	status, err := o.guardStatus(ctx)
	switch {
	case err != nil:
		return err
	case !status.Whole():
		return errors.New(status.Message())
	case o.Clock.Now().Before(status.Since.Add(InForce)):
		return fmt.Errorf("the admission rules were stored at %s and are not in force everywhere yet", status.Since.UTC().Format(time.RFC3339))
	}
	return nil
}

// Protection says what a namespace lacks that agents work in; its reason is empty when it lacks nothing.
func Protection(ns *corev1.Namespace) Fence {
	lacks := policy.Unprotected(ns)
	if lacks == "" {
		return Fence{}
	}
	return Fence{Reason: v1alpha1.ReasonNamespaceUnsafe, Final: true, Message: lacks}
}
