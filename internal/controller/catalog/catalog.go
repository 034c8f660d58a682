// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package catalog says of providers, capabilities and policies whether they can be used.
package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/controller/observe"
	"github.com/valetkey/valetkey/internal/names"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/provider"
)

// Writer stores the condition Ready.
type Writer struct {
	// Client writes; it reads from the cache.
	Client client.Client
	// Clock is the present time.
	Clock clock.PassiveClock
}

// observed leaves in a status what was found: nil means that nothing is wrong.
func (w Writer) observed(generation int64, found error, observed *int64, conditions *[]metav1.Condition) {
	*observed = generation
	c := w.ready(generation, found)
	meta.SetStatusCondition(conditions, c)
	if c.Status == metav1.ConditionTrue || !stalls(c.Reason) {
		meta.RemoveStatusCondition(conditions, v1alpha1.ConditionStalled)
		return
	}
	c.Type, c.Status = v1alpha1.ConditionStalled, metav1.ConditionTrue
	meta.SetStatusCondition(conditions, c)
}

// leaving says of an object that is being deleted that it is of no more use, whatever holds it.
func leaving(o client.Object) error {
	if o.GetDeletionTimestamp() == nil {
		return nil
	}
	return &provider.NotReadyError{Reason: v1alpha1.ReasonBeingDeleted, Message: "it is being deleted, and allows nothing any more"}
}

// stalls reports whether what is wrong is in the object itself or in how the operator was started. What is missing beside it can come
// with the next object that is applied, and what could not be found out with the next look.
func stalls(reason string) bool {
	switch reason {
	case v1alpha1.ReasonBeingDeleted, v1alpha1.ReasonIndeterminate, v1alpha1.ReasonProviderNotFound, v1alpha1.ReasonProviderNotReady, v1alpha1.ReasonIdentityInvalid,
		v1alpha1.ReasonNameImpossible:
		return false
	}
	return true
}

// ready makes the condition from what was found.
func (w Writer) ready(generation int64, found error) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady,
		Message: "nothing is wrong", ObservedGeneration: generation, LastTransitionTime: metav1.NewTime(w.Clock.Now())}
	if found == nil {
		return c
	}
	c.Status, c.Reason, c.Message = metav1.ConditionFalse, v1alpha1.ReasonIndeterminate, found.Error()
	if problem := (*provider.NotReadyError)(nil); errors.As(found, &problem) {
		c.Reason, c.Message = problem.Reason, problem.Message
	}
	const most = 1500
	c.Message = policy.Clip(c.Message, most)
	return c
}

// store writes the status if it changed. Whoever else wrote in between need not bring the object back: what is watched
// is its spec. So it is looked at again a second later.
func (w Writer) store(ctx context.Context, before, after client.Object) (ctrl.Result, error) {
	if equality.Semantic.DeepEqual(before, after) {
		return ctrl.Result{}, nil
	}
	err := w.Client.Status().Update(ctx, after)
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: time.Second}, nil
	}
	return ctrl.Result{}, client.IgnoreNotFound(err)
}

// ProviderController looks at providers.
type ProviderController struct {
	Writer
	// Providers are the back ends.
	Providers provider.Set
}

// Reconcile looks at one provider.
func (c *ProviderController) Reconcile(ctx context.Context, key ctrl.Request) (ctrl.Result, error) {
	stored := &v1alpha1.CapabilityProvider{}
	if err := c.Client.Get(ctx, key.NamespacedName, stored); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	p := stored.DeepCopy()
	backend, err := c.Providers.For(p)
	if err == nil {
		p.Status.Type = backend.Type()
		err = cmp.Or(leaving(p), backend.CheckProvider(p))
	}
	c.observed(p.Generation, err, &p.Status.ObservedGeneration, &p.Status.Conditions)
	return c.store(ctx, stored, p)
}

// CapabilityController looks at capabilities.
type CapabilityController struct {
	Writer
	// Providers are the back ends.
	Providers provider.Set
}

// Reconcile looks at one capability. All that it depends on is watched: the provider, its ServiceAccount, and roles and
// their bindings.
func (c *CapabilityController) Reconcile(ctx context.Context, key ctrl.Request) (ctrl.Result, error) {
	stored := &v1alpha1.Capability{}
	if err := c.Client.Get(ctx, key.NamespacedName, stored); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	capability := stored.DeepCopy()
	err := c.check(ctx, capability)
	c.observed(capability.Generation, err, &capability.Status.ObservedGeneration, &capability.Status.Conditions)
	if problem := (*provider.NotReadyError)(nil); err != nil && !errors.As(err, &problem) {
		_, storing := c.store(ctx, stored, capability)
		return ctrl.Result{}, errors.Join(err, storing)
	}
	return c.store(ctx, stored, capability)
}

func (c *CapabilityController) check(ctx context.Context, capability *v1alpha1.Capability) error {
	p := &v1alpha1.CapabilityProvider{}
	err := c.Client.Get(ctx, client.ObjectKey{Name: capability.Spec.ProviderRef.Name}, p)
	if apierrors.IsNotFound(err) {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonProviderNotFound,
			Message: fmt.Sprintf("there is no CapabilityProvider %q", capability.Spec.ProviderRef.Name)}
	}
	if err != nil {
		return err
	}
	if err := leaving(capability); err != nil {
		return err
	}
	backend, err := c.Providers.For(p)
	if err == nil {
		err = cmp.Or(leaving(p), backend.CheckProvider(p))
	}
	if err != nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonProviderNotReady,
			Message: fmt.Sprintf("CapabilityProvider %q is not ready: %s", p.Name, err)}
	}
	return backend.CheckCapability(ctx, capability, p)
}

// PolicyController looks at policies.
type PolicyController struct {
	Writer
	// Policies compiles them.
	Policies *observe.Policies
}

// Reconcile looks at one policy.
func (c *PolicyController) Reconcile(ctx context.Context, key ctrl.Request) (ctrl.Result, error) {
	stored := &v1alpha1.CapabilityPolicy{}
	if err := c.Client.Get(ctx, key.NamespacedName, stored); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	p := stored.DeepCopy()
	found, err := c.check(ctx, p)
	if err != nil {
		return ctrl.Result{}, err
	}
	c.observed(p.Generation, found, &p.Status.ObservedGeneration, &p.Status.Conditions)
	return c.store(ctx, stored, p)
}

// check returns in found what a policy cannot mean. The policy is in force all the same, as far as it goes. An error
// means that the capabilities, which say how names are written, could not be read.
func (c *PolicyController) check(ctx context.Context, p *v1alpha1.CapabilityPolicy) (found, err error) {
	compiled := c.Policies.Get(p)
	if compiled.Leaving() && p.Spec.Effect == v1alpha1.EffectAllow {
		return leaving(p), nil
	}
	if invalid := compiled.Err(); invalid != nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonExpressionInvalid, Message: invalid.Error()}, nil
	}
	list := &v1alpha1.CapabilityList{}
	if err := c.Client.List(ctx, list); err != nil {
		return nil, fmt.Errorf("listing capabilities: %w", err)
	}
	all := make([]*v1alpha1.Capability, len(list.Items))
	for i := range list.Items {
		all[i] = &list.Items[i]
	}
	slices.SortFunc(all, func(a, b *v1alpha1.Capability) int { return strings.Compare(a.Name, b.Name) })
	problems := compiled.Impossible(all)
	for _, name := range p.Spec.Capabilities {
		if name != names.Any && !slices.ContainsFunc(all, func(c *v1alpha1.Capability) bool { return c.Name == name }) {
			problems = append(problems, fmt.Sprintf("there is no capability %s: mend the name, or add the capability", name))
		}
	}
	if len(problems) > 0 {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonNameImpossible,
			Message: "the policy is in force, and some of it means nothing: " + strings.Join(problems, "; ")}, nil
	}
	return nil, nil
}
