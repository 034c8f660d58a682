// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/exposure"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/visible"
)

// reviewedAt is when every review is written: a decision depends on how much later it is, and on no date.
func reviewedAt() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

// world makes facts of cases. What several cases share is made once, and not changed afterwards.
type world struct {
	*Catalogue
	workloads map[string]workload
	inForce   map[string][]*policy.Compiled
	active    map[int]map[string]int
}

func newWorld(c *Catalogue) *world {
	return &world{Catalogue: c, workloads: map[string]workload{}, inForce: map[string][]*policy.Compiled{}, active: map[int]map[string]int{}}
}

// facts are what the operator would decide a case from, once it has reviewed it. An error says what cannot be.
func (w *world) facts(t *testCase) (policy.Facts, error) {
	policies, err := w.policiesOf(t)
	if err != nil {
		return policy.Facts{}, err
	}
	capability := w.capabilities[t.Request.Capability]
	load, err := w.workloadOf(t, capability)
	if err != nil {
		return policy.Facts{}, err
	}
	r, err := t.requestOf(load)
	if err != nil {
		return policy.Facts{}, err
	}
	f := policy.Facts{
		Request: r, Capability: capability, Job: load.asCreated(r), Policies: policy.NewSet(policies...),
		ReviewedAt: reviewedAt(), Now: reviewedAt().Add(t.decidedAfter()), Active: w.activeOf(t),
	}
	if capability != nil {
		f.CapabilityMessage = w.unready(capability)
		f.CapabilityReady = f.CapabilityMessage == ""
	}
	if f.CapabilityReady {
		review, risks, problems := policy.NewReview(policy.ReviewInput{
			Request: r, Job: f.Job, Capability: capability, Provider: w.providers[capability.Spec.ProviderRef.Name],
			ConfigMaps: load.configMaps, Now: f.ReviewedAt,
		})
		f.Risks = risks
		if problems != nil {
			f.JobProblems = []string{problems.Error()}
		}
		f.Digest = review.Digest
		f.Seen = t.decide(r, review.Digest)
	}
	f.Risks = append(f.Risks, t.exposure(r)...)
	return f, nil
}

// policiesOf are those in force.
func (w *world) policiesOf(t *testCase) ([]*policy.Compiled, error) {
	key := strings.Join(t.Without, " ")
	if known, ok := w.inForce[key]; ok {
		return known, nil
	}
	for _, name := range t.Without {
		if w.policy(name) == nil {
			return nil, fmt.Errorf("without: there is no policy %q", name)
		}
	}
	all := make([]*policy.Compiled, 0, len(w.policies))
	for _, p := range w.policies {
		if !slices.Contains(t.Without, p.Name) {
			all = append(all, p.compiled)
		}
	}
	w.inForce[key] = all
	return all, nil
}

// workloadOf is the Job with what it uses.
func (w *world) workloadOf(t *testCase, c *v1alpha1.Capability) (workload, error) {
	if t.Job == nil || t.Job.Manifest == "" {
		described := cmp.Or(t.Job, &jobOf{})
		return described.build(cmp.Or(t.Request.Container, defaultContainer), c), nil
	}
	file := filepath.Join(filepath.Dir(t.file), t.Job.Manifest)
	if known, ok := w.workloads[file]; ok {
		return known, nil
	}
	load, err := readWorkload(file)
	if err != nil {
		return workload{}, fmt.Errorf("job.manifest: %w", err)
	}
	w.workloads[file] = load
	return load, nil
}

// requestOf is the request, as the API server stamps it.
func (t *testCase) requestOf(load workload) (*v1alpha1.CapabilityRequest, error) {
	container, err := load.container(t.Request.Container)
	if err != nil {
		return nil, err
	}
	who, home := t.Requester.identity()
	namespace := cmp.Or(t.Request.Namespace, home, load.job.Namespace)
	if namespace == "" {
		return nil, errors.New("request.namespace: say in which namespace the request is made")
	}
	return &v1alpha1.CapabilityRequest{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: kindRequest},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: cmp.Or(t.Request.Name, load.requestName(), "case"), UID: "request"},
		Spec: v1alpha1.CapabilityRequestSpec{
			Capability: t.Request.Capability, Repo: t.Request.Repo, Environment: t.Request.Environment, TTLSeconds: t.Request.TTLSeconds,
			TaskID: cmp.Or(t.Request.TaskID, "task"), Actor: cmp.Or(t.Request.Actor, "agent"), Justification: t.Request.Justification,
			Container: container, Requester: who,
		},
	}, nil
}

// identity is a requester as the API server authenticates it, and a ServiceAccount's namespace.
func (r *requester) identity() (v1alpha1.Identity, string) {
	who := v1alpha1.Identity{Username: r.User, UID: r.UID, Extra: r.Extra}
	namespace, name, account := strings.Cut(r.ServiceAccount, "/")
	if account {
		who.Username = accountName(namespace, name)
		who.Groups = []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace}
	}
	who.Groups = withEverybodys(who.Username, append(who.Groups, r.Groups...))
	return who, namespace
}

// accountName is the user name of a ServiceAccount.
func accountName(namespace, name string) string {
	return serviceaccount.ServiceAccountUsernamePrefix + namespace + ":" + name
}

// withEverybodys are groups with the one that the API server puts everybody in, or everybody who is not authenticated.
func withEverybodys(username string, groups []string) []string {
	everybodys := user.AllAuthenticated
	if username == user.Anonymous || slices.Contains(groups, user.AllUnauthenticated) {
		everybodys = user.AllUnauthenticated
	}
	if slices.Contains(groups, everybodys) {
		return groups
	}
	return append(slices.Clone(groups), everybodys)
}

// decide stores the approvals of a review, and is when the operator saw each.
func (t *testCase) decide(r *v1alpha1.CapabilityRequest, digest string) []v1alpha1.SeenDecision {
	var seen []v1alpha1.SeenDecision
	for _, a := range t.Approvals {
		who, _ := a.who().identity()
		r.Decisions = append(r.Decisions, v1alpha1.Decision{By: who.Username, Groups: who.Groups, Decision: v1alpha1.DecisionApprove, Digest: digest})
		seen = append(seen, v1alpha1.SeenDecision{By: who.Username, Decision: v1alpha1.DecisionApprove, Digest: digest, SeenAt: metav1.NewTime(reviewedAt().Add(a.After))})
	}
	return seen
}

// decidedAfter is how long after the review it is decided.
func (t *testCase) decidedAfter() time.Duration {
	if t.After != nil {
		return *t.After
	}
	var last time.Duration
	for _, a := range t.Approvals {
		last = max(last, a.After)
	}
	return last
}

func (w *world) activeOf(t *testCase) map[string]int {
	if t.Active == nil {
		return nil
	}
	if w.active[*t.Active] == nil {
		counts := make(map[string]int, len(w.policies))
		for _, p := range w.policies {
			counts[p.Name] = *t.Active
		}
		w.active[*t.Active] = counts
	}
	return w.active[*t.Active]
}

// exposure are the risks that the operator finds in roles and bindings, in its words.
func (t *testCase) exposure(r *v1alpha1.CapabilityRequest) []policy.Risk {
	questions := exposure.About(r.Name)
	found := exposure.New(r.Namespace, questions)
	for i, q := range questions {
		if slices.Contains(t.Risks, q.Needs) {
			found.Add(visible.Name(r.Spec.Requester.Username), "the case says so", i)
		}
	}
	return found.List()
}

// taken says why the API server would not take the request.
func (c *Catalogue) taken(r *v1alpha1.CapabilityRequest) error {
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(r)
	if err != nil {
		return err
	}
	if problems := c.kinds[kindRequest].admit(object); len(problems) > 0 {
		return errors.New("the API server would not take the request: " + strings.Join(problems, "; "))
	}
	return nil
}
