// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package observe gathers, once, all the facts about a request that a decision is made from. The request controller and the
// grant controller look at the same facts, so that what was allowed and what still is are asked in the same way.
package observe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/guard"
	"github.com/valetkey/valetkey/internal/live"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/provider"
)

// Guard tells whether the admission rules are whole.
type Guard interface {
	Check(ctx context.Context) (guard.Status, error)
	Probe(ctx context.Context) (string, error)
}

// Observer gathers facts. Its fields are all required, but IdentityExtraKey.
type Observer struct {
	// Cache reads what the operator watches. Of Jobs it need have no more than Slim leaves.
	Cache client.Reader
	// Live reads what it does not watch: ConfigMaps, ServiceAccounts, and Jobs whole.
	Live *live.Reader
	// Access creates SubjectAccessReviews and SelfSubjectRulesReviews.
	Access client.Writer
	// Providers are the back ends.
	Providers provider.Set
	// Policies compiles each generation of a policy once.
	Policies *Policies
	// Guard is asked before anything is decided or issued.
	Guard Guard
	// IdentityExtraKey is the key of userInfo.extra by which people are told apart; empty where the user name alone tells.
	IdentityExtraKey string
	// World counts what changes. Its zero value is ready to use.
	World World
	// Clock is the present time.
	Clock clock.PassiveClock
	// Answers are what the API server said of late.
	Answers *Answers

	// jobs are those that were read of late.
	jobs Jobs
	// lookups bounds what is read by Live and asked by Access for one namespace at a time.
	lookups Lookups
	// guarded is what was found of the admission rules.
	guarded asOf[guard.Status]
	// looks bounds how much of the processors looking at roles and Jobs takes.
	looks looks
}

// Observation is what was found about one request.
type Observation struct {
	// Facts for policy.Evaluate. Everything that could be found is filled in.
	Facts policy.Facts
	// Provider that the capability names; nil when there is none.
	Provider *v1alpha1.CapabilityProvider
	// Backend of that provider; nil when there is none.
	Backend provider.Provider
	// Scope rendered for the request.
	Scope provider.Scope
	// Review of what was found: what people would decide on now. It is nil for a living grant whose review is of an earlier release,
	// which did not say what the ConfigMaps were.
	Review *v1alpha1.Review
	// InputsRead reports whether the review has the ConfigMaps that the Job's Pod reads as they are now; false where the Pod has its
	// copies already.
	InputsRead bool
}

// Observe gathers the facts about a request. An error means that something could not be found out.
func (o *Observer) Observe(ctx context.Context, request *v1alpha1.CapabilityRequest) (Observation, error) {
	found := Observation{Facts: policy.Facts{Request: request, Now: o.Clock.Now(), Seen: request.Status.SeenDecisions, IdentityExtraKey: o.IdentityExtraKey}}
	if review := request.Status.Review; review != nil {
		found.Facts.Digest, found.Facts.ReviewedAt = review.Digest, review.At.Time
	}
	var err error
	if found.Facts.Policies, err = o.Policies.Set(ctx, &o.World); err != nil {
		return found, err
	}
	whole, err := o.job(ctx, request)
	if err != nil {
		return found, err
	}
	found.Facts.JobSize = whole.size
	if found.Facts.Job = whole.job; request.Status.Review == nil {
		// The Job is frozen from its creation: what was reviewed had none.
		found.Facts.JobProblems = slices.Clone(whole.problems)
	}
	if err := o.catalogue(ctx, &found); err != nil {
		return found, err
	}
	return found, o.review(ctx, &found)
}

// errBehind says that it has to be looked at again.
var errBehind = errors.New("the capability has just been stored, and the operator does not know it yet")

// catalogue looks up the capability, its provider and the rendered scope.
func (o *Observer) catalogue(ctx context.Context, found *Observation) error {
	request := found.Facts.Request
	capability, key := &v1alpha1.Capability{}, client.ObjectKey{Name: request.Spec.Capability}
	if ok, err := get(ctx, o.Cache, key, capability); err != nil {
		return err
	} else if !ok {
		// The watch can be behind, and whoever asks for a capability that there is not is refused for good.
		if there, err := get(ctx, o.Live, key, capability); there || err != nil {
			return cmp.Or(err, errBehind)
		}
		return nil
	}
	found.Facts.Capability = capability
	found.Facts.CapabilityReady, found.Facts.CapabilityMessage = ready(capability.Status.Conditions, capability.Generation)
	prov := &v1alpha1.CapabilityProvider{}
	if ok, err := get(ctx, o.Cache, client.ObjectKey{Name: capability.Spec.ProviderRef.Name}, prov); !ok {
		found.notReady(fmt.Sprintf("its provider %q does not exist", capability.Spec.ProviderRef.Name))
		return err
	}
	found.Provider = prov
	if prov.DeletionTimestamp != nil && found.Facts.CapabilityReady {
		found.notReady(fmt.Sprintf("its provider %q is being deleted", prov.Name))
	}
	if ok, message := ready(prov.Status.Conditions, prov.Generation); !ok && found.Facts.CapabilityReady {
		found.notReady(fmt.Sprintf("its provider %q is not ready: %s", prov.Name, message))
	}
	backend, err := o.Providers.For(prov)
	if err != nil {
		found.notReady(err.Error())
		return nil
	}
	found.Backend = backend
	var unfit error
	err = o.look(ctx, request, func() error { // a back end may look at all bindings of the cluster
		if found.Scope, unfit = backend.Render(ctx, capability, values(request)); unfit == nil {
			unfit = found.Scope.Fits()
		}
		return nil
	})
	if unfit != nil {
		found.notReady(unfit.Error())
	}
	return err
}

func (found *Observation) notReady(message string) {
	found.Facts.CapabilityReady, found.Facts.CapabilityMessage = false, message
}

func values(r *v1alpha1.CapabilityRequest) provider.Values {
	return provider.Values{Repo: r.Spec.Repo, Environment: r.Spec.Environment, Namespace: r.Namespace}
}

// ready reads the condition Ready, which counts only for the generation that is stored.
func ready(conditions []metav1.Condition, generation int64) (bool, string) {
	c := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	switch {
	case c == nil || c.ObservedGeneration != generation:
		return false, "the operator has not looked at it yet"
	default:
		return c.Status == "True", c.Message
	}
}

// review computes what people would decide on now, and the risks that only a policy can take.
func (o *Observer) review(ctx context.Context, found *Observation) error {
	if found.Facts.Job == nil || found.Facts.JobSize > 0 {
		return nil
	}
	if found.Provider == nil || found.Scope.Principal == "" {
		return nil
	}
	in := policy.ReviewInput{
		Request: found.Facts.Request, Job: found.Facts.Job, Capability: found.Facts.Capability, Provider: found.Provider,
		Scope: found.Scope.Lines, Principal: found.Scope.Principal, Now: found.Facts.Now,
	}
	return o.inputs(ctx, found, in)
}

// reviewOf makes the review of what was read.
func (found *Observation) reviewOf(in policy.ReviewInput) {
	review, risks, err := policy.NewReview(in)
	if err != nil {
		found.Facts.JobProblems = append(found.Facts.JobProblems, err.Error())
	}
	found.Review, found.InputsRead = &review, in.ConfigMaps != nil
	found.Facts.Risks = append(found.Facts.Risks, risks...)
}

// Decide asks the policies.
func (o *Observer) Decide(ctx context.Context, facts policy.Facts) (decision policy.Decision, err error) {
	err = o.look(ctx, facts.Request, func() error {
		decision = policy.Evaluate(facts)
		return nil
	})
	return decision, err
}

// errGone says that nobody waits for the answer any more.
var errGone = errors.New("the request was removed")

// look makes a look about a request when it is its turn, unless that was removed meanwhile: whoever makes many large ones and removes them
// would have all of them looked at.
func (o *Observer) look(ctx context.Context, request *v1alpha1.CapabilityRequest, look func() error) error {
	return o.looks.do(ctx, turnOf(request), func() error {
		if request.UID == "" { // it was never stored
			return look()
		}
		now := &v1alpha1.CapabilityRequest{}
		if there, err := get(ctx, o.Cache, client.ObjectKeyFromObject(request), now); err == nil && (!there || now.UID != request.UID) {
			return errGone
		}
		return look()
	})
}

// get reads one object; false and no error when it does not exist.
func get(ctx context.Context, from client.Reader, key client.ObjectKey, into client.Object) (bool, error) {
	err := from.Get(ctx, key, into)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking up %T %s: %w", into, key, err)
	}
	return true, nil
}

// Probe asks the guard for what it must refuse, and says in words if it does not.
func (o *Observer) Probe(ctx context.Context) (string, error) {
	problem, err := o.Answers.of("probe", answersLast, func() (any, error) { return o.Guard.Probe(ctx) })
	if err != nil {
		return "", err
	}
	return problem.(string), nil
}
