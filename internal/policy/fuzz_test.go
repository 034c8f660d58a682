// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// choices turns fuzzed bytes into choices; when they run out, the first of each is taken.
type choices []byte

func (c *choices) next() int {
	if len(*c) == 0 {
		return 0
	}
	b := (*c)[0]
	*c = (*c)[1:]
	return int(b)
}

func (c *choices) coin() bool { return c.next()%2 == 1 }

func pick[T any](c *choices, of ...T) T { return of[c.next()%len(of)] }

func some[T any](c *choices, of ...T) []T {
	var chosen []T
	for bits := c.next(); bits > 0 && len(of) > 0; bits, of = bits>>1, of[1:] {
		if bits&1 == 1 {
			chosen = append(chosen, of[0])
		}
	}
	return chosen
}

func (c *choices) subjects() []v1alpha1.Subject {
	return some(c,
		v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: "agents", Name: "web-app-bot"},
		v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: "release-managers"},
		v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "alice"},
		v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: "system:authenticated"},
		v1alpha1.Subject{},
	)
}

func (c *choices) policy(name string) *v1alpha1.CapabilityPolicy {
	p := &v1alpha1.CapabilityPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	p.Spec = v1alpha1.CapabilityPolicySpec{
		Effect:       pick(c, v1alpha1.EffectAllow, v1alpha1.EffectAllow, v1alpha1.EffectDeny, ""),
		Capabilities: some(c, "publish-preview-build", "*", "deploy"),
		Requesters:   c.subjects(),
		Namespaces:   pick(c, nil, []string{"agents"}, []string{"ci"}),
		Repos:        some(c, "web-app", "web-*", "*", "acme/*", ""),
		Environments: some(c, "preview", "*", "prod*"),
		Accept:       some(c, v1alpha1.AcceptUnpinnedImage, v1alpha1.AcceptSecretReader),
	}
	for _, e := range some(c, "true", "job.container == 'publish'", "false", "job.labels['x'] == 'y'", "nonsense(") {
		p.Spec.When = append(p.Spec.When, v1alpha1.Expression{Expression: e, Message: e})
	}
	if c.coin() {
		p.Spec.MaxTTLSeconds = ptr.To(pick[int32](c, 900, 10, 7200))
	}
	if c.coin() {
		p.Spec.Approval = &v1alpha1.Approval{Required: int32(c.next() % 4), Approvers: c.subjects(), TimeoutSeconds: pick[int32](c, 3600, 0, 10)}
	}
	if c.coin() {
		p.Spec.Limits = &v1alpha1.Limits{Active: ptr.To(int32(c.next() % 3))}
	}
	return p
}

func (c *choices) world() (Facts, []*v1alpha1.CapabilityPolicy) {
	f := newWorld().Facts
	f.Request.Spec.Repo = pick(c, "web-app", "acme/web-app", "api", "")
	f.Request.Spec.TTLSeconds = pick(c, ptr.To[int32](900), nil, ptr.To[int32](-1), ptr.To[int32](4000))
	f.Request.Spec.Requester.Username = pick(c, agent, "alice", "")
	f.Job.Annotations[v1alpha1.AnnotationCreatedBy] = f.Request.Spec.Requester.Username
	f.Capability.Spec.MinimumApproval = int32(c.next() % 3)
	f.CapabilityReady, f.GrantedBy = !c.coin(), pick(c, "", "p0")
	f.Digest = pick(c, digest, "", otherDigest)
	f.Now = noon().Add(pick(c, time.Minute, time.Hour, -time.Hour))
	f.Active = map[string]int{"p0": c.next() % 4}
	if c.coin() {
		f.Job.Spec.BackoffLimit = nil
	}
	if c.coin() {
		f.Job = nil
	}
	if c.next()%8 == 7 {
		f.Capability = nil
	}
	f.Risks = some(c, Risk{v1alpha1.AcceptUnpinnedImage, "an image"}, Risk{v1alpha1.AcceptSecretReader, "a reader"}, Risk{"", "what nothing accepts"})
	for range c.next() % 5 {
		d := v1alpha1.Decision{
			By: pick(c, "alice", "bob", agent, "Alice"), UID: pick(c, "", "agent-uid", "u"), Groups: some(c, "release-managers", "system:authenticated"),
			Decision: pick(c, v1alpha1.DecisionApprove, v1alpha1.DecisionApprove, v1alpha1.DecisionDeny), Digest: pick(c, digest, otherDigest, ""),
		}
		f.Request.Decisions = append(f.Request.Decisions, d)
		f.Seen = append(f.Seen, v1alpha1.SeenDecision{By: d.By, Decision: d.Decision, Digest: d.Digest,
			SeenAt: metav1.NewTime(noon().Add(pick(c, 0, time.Hour)))})
	}
	var policies []*v1alpha1.CapabilityPolicy
	for i := range c.next() % 5 {
		policies = append(policies, c.policy(fmt.Sprint("p", i)))
	}
	return f, policies
}

// fieldsMatch says in other words than the code what a policy's fields match.
func fieldsMatch(p *v1alpha1.CapabilityPolicySpec, r *v1alpha1.CapabilityRequest) bool {
	deny := p.Effect != v1alpha1.EffectAllow
	among := func(patterns []string, name string) bool {
		if len(patterns) == 0 {
			return deny
		}
		return slices.ContainsFunc(patterns, func(p string) bool {
			return p == "*" || regexp.MustCompile("^"+strings.ReplaceAll(p, "*", "[^/]*")+"$").MatchString(name)
		})
	}
	named := deny && len(p.Requesters) == 0
	for _, s := range p.Requesters {
		who := r.Spec.Requester
		named = named || (who.Username != "" && (s == v1alpha1.Subject{Kind: "User", Name: who.Username} ||
			(s.Kind == "ServiceAccount" && "system:serviceaccount:"+s.Namespace+":"+s.Name == who.Username) ||
			(s.Kind == "Group" && slices.Contains(who.Groups, s.Name))))
	}
	return named && among(p.Capabilities, r.Spec.Capability) && among(p.Repos, r.Spec.Repo) &&
		among(p.Environments, r.Spec.Environment) && (p.Namespaces == nil || slices.Contains(p.Namespaces, r.Namespace))
}

func FuzzEvaluate(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("an Allow, a Deny, and people who decide"))
	for i := range byte(64) {
		f.Add(slices.Repeat([]byte{i, 1, i / 2, 3, 0, i * 7}, 40))
	}
	compiler := newCompiler(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		c := choices(data)
		facts, policies := c.world()
		for _, p := range policies {
			facts.Policies = NewSet(append(facts.Policies.All(), compiler.Compile(p))...)
		}
		got := Evaluate(facts)
		reversed := slices.Clone(facts.Policies.All())
		slices.Reverse(reversed)
		facts.Policies = NewSet(reversed...)
		if diff := cmp.Diff(got, Evaluate(facts)); diff != "" {
			t.Errorf("the order of the policies matters: %s", diff)
		}
		if got.Reason == "" || got.Message == "" || len(got.Message) > maxMessageLength {
			t.Errorf("%s for %q: %q", got.Verdict, got.Reason, got.Message)
		}
		expectNoDenyOutvoted(t, facts, policies, got)
		if got.Verdict == Allow {
			expectRightToAllow(t, facts, policies, got)
		}
	})
}

func expectNoDenyOutvoted(t *testing.T, f Facts, policies []*v1alpha1.CapabilityPolicy, got Decision) {
	t.Helper()
	must := slices.ContainsFunc(policies, func(p *v1alpha1.CapabilityPolicy) bool {
		certain := !slices.ContainsFunc(p.Spec.When, func(e v1alpha1.Expression) bool { return e.Expression != "true" && e.Expression != "nonsense(" })
		return p.Spec.Effect != v1alpha1.EffectAllow && certain && fieldsMatch(&p.Spec, f.Request)
	})
	must = must || (f.Digest != "" && slices.ContainsFunc(f.Request.Decisions, func(d v1alpha1.Decision) bool {
		return d.Decision == v1alpha1.DecisionDeny && d.Digest == f.Digest
	}))
	if must && got.Verdict != Deny {
		t.Errorf("a Deny was outvoted: %s, %s", got.Verdict, got.Message)
	}
}

func expectRightToAllow(t *testing.T, f Facts, policies []*v1alpha1.CapabilityPolicy, got Decision) {
	t.Helper()
	at := slices.IndexFunc(policies, func(p *v1alpha1.CapabilityPolicy) bool { return got.Policy != nil && p.Name == got.Policy.Name })
	if at < 0 || policies[at].Spec.Effect != v1alpha1.EffectAllow || !fieldsMatch(&policies[at].Spec, f.Request) {
		t.Fatalf("allowed by a policy that does not match: %s", got.Message)
	}
	p := policies[at].Spec
	if f.Capability == nil || !f.CapabilityReady || f.Job == nil || (!f.granted() && CheckJob(f.Job, f.Request, f.Capability) != nil) {
		t.Error("allowed without a capability that is Ready, or without a Job that may hold it")
	}
	if slices.ContainsFunc(f.Risks, func(r Risk) bool { return !slices.Contains(p.Accept, r.Needs) }) {
		t.Error("allowed with a risk that is not accepted")
	}
	if slices.ContainsFunc(p.When, func(e v1alpha1.Expression) bool {
		return e.Expression != "true" && !strings.Contains(e.Expression, "container")
	}) {
		t.Error("allowed against an expression")
	}
	required := f.Capability.Spec.MinimumApproval
	if p.Approval != nil {
		required = max(required, p.Approval.Required)
	}
	if !f.granted() && (len(got.ApprovedBy) < int(required) || slices.Contains(got.ApprovedBy, f.Request.Spec.Requester.Username)) {
		t.Errorf("allowed by %v, where %d are required", got.ApprovedBy, required)
	}
}
