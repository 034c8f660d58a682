// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package observe gathers, once, all the facts about a request that a decision is made from. The request controller and the
// grant controller look at the same facts, so that what was allowed and what still is are asked in the same way.
package observe

import (
	"context"
	"encoding/json"
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/guard"
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
	// Cache reads what the operator watches.
	Cache client.Reader
	// Live reads what it does not watch: ConfigMaps and ServiceAccounts.
	Live client.Reader
	// Access creates SubjectAccessReviews.
	Access client.Writer
	// Providers are the back ends.
	Providers provider.Set
	// Policies compiles each generation of a policy once.
	Policies *Policies
	// Guard is asked before anything is decided or issued.
	Guard Guard
	// IdentityExtraKey is the key of userInfo.extra by which people are told apart; empty where the user name alone tells.
	IdentityExtraKey string
	// Clock is the present time.
	Clock clock.PassiveClock
	// Answers are what the API server said of late.
	Answers *Answers
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
	// Review of what was found: what people would decide on now.
	Review *v1alpha1.Review
}

// Observe gathers the facts about a request. An error means that something could not be found out.
func (o *Observer) Observe(ctx context.Context, request *v1alpha1.CapabilityRequest) (Observation, error) {
	found := Observation{Facts: policy.Facts{Request: request, Now: o.Clock.Now(), Seen: request.Status.SeenDecisions, IdentityExtraKey: o.IdentityExtraKey}}
	if review := request.Status.Review; review != nil {
		found.Facts.Digest, found.Facts.ReviewedAt = review.Digest, review.At.Time
	}
	var err error
	if found.Facts.Policies, err = o.Policies.List(ctx); err != nil {
		return found, err
	}
	if found.Facts.Job, err = o.job(ctx, request); err != nil {
		return found, err
	}
	if err := o.catalogue(ctx, &found); err != nil {
		return found, err
	}
	return found, o.review(ctx, &found)
}

func (o *Observer) job(ctx context.Context, request *v1alpha1.CapabilityRequest) (*batchv1.Job, error) {
	job := &batchv1.Job{}
	key := client.ObjectKey{Namespace: request.Namespace, Name: v1alpha1.NamePrefix + request.Name}
	found, err := get(ctx, o.Cache, key, job)
	if !found {
		return nil, err
	}
	return job, nil
}

// catalogue looks up the capability, its provider and the rendered scope.
func (o *Observer) catalogue(ctx context.Context, found *Observation) error {
	request := found.Facts.Request
	capability := &v1alpha1.Capability{}
	if ok, err := get(ctx, o.Cache, client.ObjectKey{Name: request.Spec.Capability}, capability); !ok {
		return err
	}
	found.Facts.Capability = capability
	found.Facts.CapabilityReady, found.Facts.CapabilityMessage = ready(capability.Status.Conditions, capability.Generation)
	prov := &v1alpha1.CapabilityProvider{}
	if ok, err := get(ctx, o.Cache, client.ObjectKey{Name: capability.Spec.ProviderRef.Name}, prov); !ok {
		found.notReady(fmt.Sprintf("its provider %q does not exist", capability.Spec.ProviderRef.Name))
		return err
	}
	found.Provider = prov
	if ok, message := ready(prov.Status.Conditions, prov.Generation); !ok {
		found.notReady(fmt.Sprintf("its provider %q is not ready: %s", prov.Name, message))
	}
	backend, err := o.Providers.For(prov)
	if err != nil {
		found.notReady(err.Error())
		return nil
	}
	found.Backend = backend
	found.Scope, err = backend.Render(ctx, capability, values(request))
	if err == nil {
		err = found.Scope.Fits()
	}
	if err != nil {
		found.notReady(err.Error())
	}
	return nil
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
	if found.Facts.Job == nil || found.Provider == nil || found.Scope.Principal == "" {
		return nil
	}
	in := policy.ReviewInput{
		Request: found.Facts.Request, Job: found.Facts.Job, Capability: found.Facts.Capability, Provider: found.Provider,
		Scope: found.Scope.Lines, Principal: found.Scope.Principal, Now: found.Facts.Now,
		ConfigMaps: map[string]*corev1.ConfigMap{},
	}
	for _, name := range policy.ConfigMapNames(found.Facts.Job) {
		cm := &corev1.ConfigMap{}
		ok, err := get(ctx, o.Live, client.ObjectKey{Namespace: found.Facts.Request.Namespace, Name: name}, cm)
		if err != nil {
			return err
		}
		if !ok {
			cm = nil
		}
		in.ConfigMaps[name] = cm
	}
	review, risks := policy.NewReview(in)
	found.Review = &review
	found.Facts.Risks = append(found.Facts.Risks, risks...)
	return nil
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

// access is one question to the authorizer.
type access struct {
	needs    v1alpha1.Acceptance
	verb     string
	group    string
	resource string
	can      string
	// named asks about the request's own name: whoever asks has chosen it, and a right on one name is as good as on all. The name
	// of a grant's Secret nobody knows beforehand.
	named bool
}

var questions = [...]access{
	{v1alpha1.AcceptSecretReader, "get", "", "secrets", "read Secrets", false},
	{v1alpha1.AcceptSecretReader, "list", "", "secrets", "list Secrets", false},
	{v1alpha1.AcceptSecretReader, "watch", "", "secrets", "watch Secrets", false},
	{v1alpha1.AcceptRequesterMayApprove, "approve", v1alpha1.GroupVersion.Group, "capabilityrequests", "approve requests", true},
}

// Exposure asks the authorizer whether the requester, or any ServiceAccount of the namespace, could read the credential or
// approve the request. Every ServiceAccount is asked about, not the Job's alone: who may create a Job can run as any of them.
func (o *Observer) Exposure(ctx context.Context, request *v1alpha1.CapabilityRequest) ([]policy.Risk, error) {
	subjects, err := o.subjects(ctx, request)
	if err != nil {
		return nil, err
	}
	var risks []policy.Risk
	for _, subject := range subjects {
		for _, q := range questions {
			allowed, err := o.allowed(ctx, subject, request, q)
			if err != nil {
				return nil, err
			}
			if allowed {
				risks = append(risks, policy.Risk{Needs: q.needs,
					Message: fmt.Sprintf("%s may %s in namespace %s", subject.Username, q.can, request.Namespace)})
			}
		}
	}
	return risks, nil
}

// Probe asks the guard for what it must refuse, and says in words if it does not.
func (o *Observer) Probe(ctx context.Context) (string, error) {
	problem, err := o.Answers.of("probe", func() (any, error) { return o.Guard.Probe(ctx) })
	if err != nil {
		return "", err
	}
	return problem.(string), nil
}

func (o *Observer) subjects(ctx context.Context, request *v1alpha1.CapabilityRequest) ([]v1alpha1.Identity, error) {
	listed, err := o.Answers.of("accounts/"+request.Namespace, func() (any, error) {
		accounts := &corev1.ServiceAccountList{}
		return accounts, o.Live.List(ctx, accounts, client.InNamespace(request.Namespace))
	})
	if err != nil {
		return nil, fmt.Errorf("listing ServiceAccounts: %w", err)
	}
	accounts := listed.(*corev1.ServiceAccountList)
	subjects := []v1alpha1.Identity{request.Spec.Requester}
	for i := range accounts.Items {
		subjects = append(subjects, v1alpha1.Identity{
			Username: "system:serviceaccount:" + request.Namespace + ":" + accounts.Items[i].Name,
			Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + request.Namespace, "system:authenticated"},
		})
	}
	return subjects, nil
}

func (o *Observer) allowed(ctx context.Context, who v1alpha1.Identity, request *v1alpha1.CapabilityRequest, q access) (bool, error) {
	attributes := &authorizationv1.ResourceAttributes{Namespace: request.Namespace, Verb: q.verb, Group: q.group, Resource: q.resource}
	if q.named {
		attributes.Name = request.Name
	}
	extra := make(map[string]authorizationv1.ExtraValue, len(who.Extra))
	for key, value := range who.Extra {
		extra[key] = authorizationv1.ExtraValue(value)
	}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: who.Username, UID: who.UID, Groups: who.Groups, Extra: extra,
		ResourceAttributes: attributes,
	}}
	question, err := json.Marshal(review.Spec)
	if err != nil {
		return false, err
	}
	answer, err := o.Answers.of(string(question), func() (any, error) {
		err := o.Access.Create(ctx, review)
		return review.Status.Allowed, err
	})
	if err != nil {
		return false, fmt.Errorf("asking what %s may do: %w", who.Username, err)
	}
	return answer.(bool), nil
}
