// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package inquiry finds out, with the rights of whoever asks, what the operator decides from, so that its evaluator can be asked
// beforehand and afterwards. What they may not read, it names.
package inquiry

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/projection"
)

// Inquirer reads as somebody.
type Inquirer struct {
	client   client.Client
	compiler *policy.Compiler
	clock    clock.PassiveClock
}

// New reads with the client's rights.
func New(c client.Client, clock clock.PassiveClock) (*Inquirer, error) {
	compiler, err := policy.NewCompiler()
	if err != nil {
		return nil, err
	}
	return &Inquirer{client: c, compiler: compiler, clock: clock}, nil
}

// Found is what was found out.
type Found struct {
	// Facts for policy.Evaluate.
	Facts policy.Facts
	// Policies as they are stored.
	Policies []v1alpha1.CapabilityPolicy
	// Unread says what could not be read for want of rights, a sentence each. A decision made without it may differ from the operator's.
	Unread []string
	// Blind is set when there is no answer without what could not be read: the capability, the policies, or the Job.
	Blind bool
}

// Ask is a request that nobody has made.
type Ask struct {
	Capability, Namespace, Repo, Environment string
	// TTLSeconds that it asks for; nil for the capability's default.
	TTLSeconds *int32
	// Name of the request, TaskID, Actor and Justification are for expressions that look at them; one that is empty is not
	// said yet.
	Name, TaskID, Actor, Justification string
}

// unsaid are the fields of the request that are not said yet, as expressions call them.
func (a Ask) unsaid() []string {
	var all []string
	for _, field := range []struct{ name, value string }{
		{policy.FieldName, a.Name}, {policy.FieldTaskID, a.TaskID}, {policy.FieldActor, a.Actor}, {policy.FieldJustification, a.Justification},
	} {
		if field.value == "" {
			all = append(all, field.name)
		}
	}
	return all
}

// Whoami is who asks, as the API server would stamp it.
func (q *Inquirer) Whoami(ctx context.Context) (v1alpha1.Identity, error) {
	review := &authenticationv1.SelfSubjectReview{}
	if err := q.client.Create(ctx, review); err != nil {
		return v1alpha1.Identity{}, fmt.Errorf("asking the API server who you are: %w", err)
	}
	u := review.Status.UserInfo
	who := v1alpha1.Identity{Username: u.Username, UID: u.UID, Groups: u.Groups}
	for key, values := range u.Extra {
		if who.Extra == nil {
			who.Extra = map[string]v1alpha1.ExtraValue{}
		}
		who.Extra[key] = v1alpha1.ExtraValue(values)
	}
	return who, nil
}

// Would is what a request of somebody's would be decided from. There is no Job yet.
func (q *Inquirer) Would(ctx context.Context, who v1alpha1.Identity, a Ask) (Found, error) {
	request := &v1alpha1.CapabilityRequest{ObjectMeta: metav1.ObjectMeta{Namespace: a.Namespace, Name: cmp.Or(a.Name, "ask")}}
	request.Spec = v1alpha1.CapabilityRequestSpec{Capability: a.Capability, Repo: a.Repo, Environment: a.Environment, TTLSeconds: a.TTLSeconds,
		TaskID: a.TaskID, Actor: a.Actor, Justification: a.Justification, Requester: who}
	found := Found{Facts: policy.Facts{Request: request, Unsaid: a.unsaid(), Now: q.clock.Now()}}
	if err := q.catalogue(ctx, &found); err != nil {
		return found, err
	}
	return found, q.surroundings(ctx, &found)
}

// approvals is how many people have approved what was reviewed, of whom not all may have counted, as the grant says to whoever may read it.
func approvals(r *v1alpha1.CapabilityRequest) (given int32) {
	for _, d := range r.Decisions {
		if r.Status.Review != nil && d.Decision == v1alpha1.DecisionApprove && d.Digest == r.Status.Review.Digest {
			given++
		}
	}
	return given
}

// Of is what a request that exists is decided from. As the operator does, it looks at the namespace, and at who could
// read the credential, until the Job is started.
func (q *Inquirer) Of(ctx context.Context, request *v1alpha1.CapabilityRequest) (Found, error) {
	found := Found{Facts: policy.Facts{Request: request, Now: q.clock.Now(), Seen: request.Status.SeenDecisions}}
	if request.Status.GrantName != "" && request.Status.Policy != nil {
		found.Facts.GrantedBy, found.Facts.Approvals = request.Status.Policy.Name, approvals(request)
		grant := &v1alpha1.CapabilityGrant{}
		there, err := q.read(ctx, &found, "the grant", client.ObjectKey{Namespace: request.Namespace, Name: request.Status.GrantName}, grant)
		if err != nil {
			return found, err
		}
		if there {
			found.Facts.GrantedBy, found.Facts.Approvals = grant.Spec.Approval.Policy, int32(min(len(grant.Spec.Approval.ApprovedBy), math.MaxInt32))
		}
	}
	if review := request.Status.Review; review != nil {
		found.Facts.Digest, found.Facts.ReviewedAt = review.Digest, review.At.Time
	}
	if err := q.catalogue(ctx, &found); err != nil {
		return found, err
	}
	job := &batchv1.Job{}
	unread := len(found.Unread)
	there, err := q.read(ctx, &found, "the Job", client.ObjectKey{Namespace: request.Namespace, Name: policy.JobName(request)}, job)
	found.Blind = found.Blind || len(found.Unread) > unread
	if err != nil {
		return found, err
	}
	if there {
		found.Facts.Job = job
		if err := q.risks(ctx, &found); err != nil {
			return found, err
		}
		if _, _, started := projection.Started(job); started {
			return found, nil
		}
	}
	return found, q.surroundings(ctx, &found)
}

// policiesUnread names the role that is missing.
const policiesUnread = "you may not list capabilitypolicies (ClusterRole valetkey-catalogue-viewer)"

// catalogue reads the capability, all policies, and how many credentials are out.
func (q *Inquirer) catalogue(ctx context.Context, found *Found) error {
	capability := &v1alpha1.Capability{}
	there, err := q.read(ctx, found, "the capability", client.ObjectKey{Name: found.Facts.Request.Spec.Capability}, capability)
	if err != nil {
		return err
	}
	found.Blind = len(found.Unread) > 0
	if there {
		found.Facts.Capability = capability
		found.Facts.CapabilityReady, found.Facts.CapabilityMessage = ready(capability)
	}
	list := &v1alpha1.CapabilityPolicyList{}
	if err := q.client.List(ctx, list); apierrors.IsForbidden(err) {
		found.Unread = append(found.Unread, policiesUnread)
		found.Blind = true
	} else if err != nil {
		return fmt.Errorf("listing policies: %w", err)
	}
	found.Policies = list.Items
	compiled := make([]*policy.Compiled, len(list.Items))
	for i := range list.Items {
		compiled[i] = q.compiler.Compile(&list.Items[i])
	}
	found.Facts.Policies = policy.NewSet(compiled...)
	return q.active(ctx, found)
}

// active counts what is out by the grants that can be seen.
func (q *Inquirer) active(ctx context.Context, found *Found) error {
	limited := slices.ContainsFunc(found.Policies, func(p v1alpha1.CapabilityPolicy) bool { return p.Spec.Limits != nil })
	if !limited {
		return nil
	}
	grants := &v1alpha1.CapabilityGrantList{}
	err := q.client.List(ctx, grants)
	if apierrors.IsForbidden(err) {
		found.Unread = append(found.Unread, "you may not list capabilitygrants of all namespaces: how many are out is not known")
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing grants: %w", err)
	}
	found.Facts.Active = map[string]int{}
	for i := range grants.Items {
		if g := &grants.Items[i]; g.Spec.RequestRef.UID != string(found.Facts.Request.UID) {
			found.Facts.Active[g.Spec.Approval.Policy] += g.Counts(q.clock.Now())
		}
	}
	return nil
}

// risks looks at what the Job's Pod uses.
func (q *Inquirer) risks(ctx context.Context, found *Found) error {
	in := policy.ReviewInput{Request: found.Facts.Request, Job: found.Facts.Job, Capability: found.Facts.Capability,
		Provider: &v1alpha1.CapabilityProvider{}, ConfigMaps: map[string]*corev1.ConfigMap{}, Now: found.Facts.Now}
	if in.Capability == nil {
		return nil
	}
	for _, name := range inputs(found, &in) {
		content, unread := &corev1.ConfigMap{}, len(found.Unread)
		there, err := q.read(ctx, found, "ConfigMap "+name, client.ObjectKey{Namespace: found.Facts.Request.Namespace, Name: name}, content)
		if err != nil {
			return err
		}
		if there || len(found.Unread) > unread {
			in.ConfigMaps[name] = content // One that may not be read is taken to be there.
		}
	}
	var problems error
	if _, found.Facts.Risks, problems = policy.NewReview(in); problems != nil {
		found.Facts.JobProblems = append(found.Facts.JobProblems, problems.Error())
	}
	return nil
}

// inputs are the ConfigMaps to read. Once its Job was started, a Pod reads copies of those that were reviewed.
func inputs(found *Found, in *policy.ReviewInput) []string {
	review := found.Facts.Request.Status.Review
	if _, _, started := projection.Started(found.Facts.Job); started && review != nil {
		in.Copied = slices.Concat([]v1alpha1.ReviewedInput{}, review.Inputs)
		return nil
	}
	return policy.ConfigMapNames(found.Facts.Job)
}

// read gets one object; false when it is not there, or may not be read, which is noted.
func (q *Inquirer) read(ctx context.Context, found *Found, what string, key client.ObjectKey, into client.Object) (bool, error) {
	err := q.client.Get(ctx, key, into)
	switch {
	case err == nil:
		return true, nil
	case apierrors.IsNotFound(err):
		return false, nil
	case apierrors.IsForbidden(err):
		found.Unread = append(found.Unread, "you may not read "+what)
		return false, nil
	default:
		return false, fmt.Errorf("reading %s: %w", what, err)
	}
}

func ready(c *v1alpha1.Capability) (bool, string) {
	condition := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionReady)
	if condition == nil || condition.ObservedGeneration != c.Generation {
		return false, "the operator has not looked at it yet"
	}
	return condition.Status == metav1.ConditionTrue, condition.Message
}
