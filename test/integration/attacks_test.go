// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/test/refusal"
)

// attack is one thing that must come to nothing.
type attack struct {
	name, by string
	// refused by an admission rule, by the CRD or RBAC, or by a reason: of the request's condition Allowed, or of the grant's end.
	refused string
	// words that a person sees.
	words string
	// try sets the stage and attacks. Its error is that of the attack itself; whatever else fails, fails the test.
	try func(j *journey) error
}

func attacks() []attack {
	var all []attack
	for _, group := range [][]attack{approvalAttacks(), peopleAttacks(), changeAttacks(), jobAttacks(), policyAttacks(),
		spellingAttacks(), valueAttacks(), exposureAttacks(), grantAttacks(), rightsAttacks(), inputAttacks(), limitAttacks()} {
		all = append(all, group...)
	}
	return all
}

// TestAttacksOnTheOperator tries every row with a real operator, and prints what refused it. Each leaves nothing issued.
func TestAttacksOnTheOperator(t *testing.T) {
	t.Parallel()
	var table refusal.Table
	t.Cleanup(func() {
		if err := table.Print(os.Stdout); err != nil {
			t.Error(err)
		}
	})
	for i, a := range attacks() {
		holds := table.Add(a.name, a.by, a.refused, a.words)
		t.Run(a.name, func(t *testing.T) {
			j := begin(t, fmt.Sprintf("attack-%d", i))
			a.expect(j, a.try(j))
			if !t.Failed() {
				holds()
			}
		})
	}
}

// expect: the attack is refused as it should be, and nothing is issued.
func (a attack) expect(j *journey, err error) {
	j.Helper()
	switch a.refused {
	case v1alpha1.ReasonAwaitingApproval, v1alpha1.ReasonIndeterminate, v1alpha1.ReasonLimitReached:
		j.must(err)
		j.awaitWords(a.refused, a.words)
	case v1alpha1.ReasonDeniedByPolicy, v1alpha1.ReasonNameRefused, v1alpha1.ReasonReviewChanged, v1alpha1.ReasonRequesterTooStrong, v1alpha1.ReasonJobRefused:
		j.must(err)
		j.expectRefused(a.refused, a.words)
	case v1alpha1.ReasonJobGone, v1alpha1.ReasonPolicyWithdrawn:
		j.must(err)
		g := await(j.T, j.w, j.grantObject(), "ended", func(g *v1alpha1.CapabilityGrant) bool { return g.Status.EndedAt != nil })
		if s := g.Status.Stop; s == nil || s.Reason != a.refused || !strings.Contains(s.Message, a.words) {
			j.Errorf("the grant ended for %+v", s)
		}
	default:
		if err := refusal.By(err, a.refused, a.words); err != nil {
			j.Error(err)
		}
	}
	j.expectNothingIssued()
}

// awaitWords: the request waits for that reason, and says these words.
func (j *journey) awaitWords(reason, words string) {
	j.Helper()
	r := await(j.T, j.w, j.requestObject(), reason+": "+words, func(r *v1alpha1.CapabilityRequest) bool {
		c := condition(r.Status.Conditions, v1alpha1.ConditionAllowed)
		return r.Status.GrantName != "" || r.Status.EndedAt != nil || c.Reason == reason && strings.Contains(c.Message, words)
	})
	if c := condition(r.Status.Conditions, v1alpha1.ConditionAllowed); r.Status.GrantName != "" || r.Status.EndedAt != nil {
		j.Errorf("the request does not wait: %s: %s", c.Reason, c.Message)
	}
}

// awaitReviewed returns the digest that people decide on.
func (j *journey) awaitReviewed() string {
	j.Helper()
	return j.awaitDecision(v1alpha1.ReasonAwaitingApproval).Status.Review.Digest
}

// waitsForApproval asks under a policy that needs one release manager.
func (j *journey) waitsForApproval(edits ...func(*v1alpha1.CapabilityPolicySpec)) (digest string) {
	j.Helper()
	j.allow(append([]func(*v1alpha1.CapabilityPolicySpec){byAlice}, edits...)...)
	j.ask()
	return j.awaitReviewed()
}

// approve is somebody's approval.
func (j *journey) approve(who client.Client, digest string) error {
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationApprove, digest)
	return who.Patch(j.Context(), j.requestObject(), client.RawPatch(types.MergePatchType, []byte(patch)))
}

// approveLate sees an approval refused that comes after the end.
func (j *journey) approveLate(digest string) error {
	return refusal.By(j.approve(j.w.alice, digest), "valetkey-decisions", "nothing can be approved any more")
}

// bind gives a subject a role in the journey's namespace.
func (j *journey) bind(role string, subject rbacv1.Subject) {
	j.Helper()
	name := j.name + "-" + role + "-" + subject.Name
	j.store(&rbacv1.RoleBinding{ObjectMeta: j.meta(name), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects: []rbacv1.Subject{subject}})
}

func user(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}
}

func serviceAccount(namespace, name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}
}

// askedBy makes a person the one who asks.
func (j *journey) askedBy(name string, extra map[string][]string) func(*v1alpha1.CapabilityPolicySpec) {
	j.Helper()
	j.bind("valetkey-requester", user(name))
	j.agent = j.as(name, extra)
	return func(p *v1alpha1.CapabilityPolicySpec) {
		p.Requesters = []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: name}}
	}
}

// again deletes the Job and creates it once more.
func (j *journey) jobAgain() {
	j.Helper()
	j.must(j.agent.Delete(j.Context(), j.sampleJob(), client.PropagationPolicy(metav1.DeletePropagationBackground)))
	awaitGone(j.T, j.w, j.sampleJob())
	j.job()
}

const neverReviewed = "d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0"

func approvalAttacks() []attack {
	const rule, alice = "valetkey-decisions", "alice@example.com"
	return []attack{
		{"approving before there is a Job to look at", alice, rule, "nothing was reviewed yet", func(j *journey) error {
			j.allow(byAlice)
			j.request()
			j.awaitDecision(v1alpha1.ReasonAwaitingJob)
			return j.approve(j.w.alice, neverReviewed)
		}},
		{"approving what was never reviewed", alice, rule, "not the one in status.review", func(j *journey) error {
			j.waitsForApproval()
			return j.approve(j.w.alice, neverReviewed)
		}},
		{"replaying an approval on a request of the same name", alice, rule, "not the one in status.review", func(j *journey) error {
			// The first is approved by one of two, so that it is not granted.
			digest := j.waitsForApproval(func(p *v1alpha1.CapabilityPolicySpec) { p.Approval.Required = 2 })
			j.must(j.approve(j.w.alice, digest))
			j.must(j.agent.Delete(j.Context(), j.requestObject()))
			j.must(j.agent.Delete(j.Context(), j.sampleJob(), client.PropagationPolicy(metav1.DeletePropagationBackground)))
			awaitGone(j.T, j.w, j.requestObject())
			awaitGone(j.T, j.w, j.sampleJob())
			j.ask()
			if again := j.awaitReviewed(); again == digest {
				j.Error("both requests have one digest")
			}
			return j.approve(j.w.alice, digest)
		}},
		{"an approval that was there before the request was made again", alice, v1alpha1.ReasonAwaitingApproval, "waits for 1 approval by", func(j *journey) error {
			digest := j.waitsForApproval(func(p *v1alpha1.CapabilityPolicySpec) { p.Approval.Required = 2 })
			j.must(j.approve(j.w.alice, digest))
			j.awaitWords(v1alpha1.ReasonAwaitingApproval, "waits for 1 approval by")
			j.must(j.agent.Delete(j.Context(), j.requestObject()))
			awaitGone(j.T, j.w, j.requestObject())
			j.request()
			j.awaitWords(v1alpha1.ReasonAwaitingApproval, "waits for 2 approvals by")
			return j.approve(j.w.alice, j.awaitReviewed())
		}},
		{"no approver is named", "admin", refusal.CRD, "approvers says who may approve", func(j *journey) error {
			return j.w.admin.Create(j.Context(), j.policy(byAlice, func(p *v1alpha1.CapabilityPolicySpec) { p.Approval.Approvers = nil }))
		}},
		{"the capability asks for an approval that the policy lets nobody give", "agent", v1alpha1.ReasonDeniedByPolicy, "names nobody who may give the 1 approvals that capability", func(j *journey) error {
			j.allow()
			j.ownCapability(func(c *v1alpha1.Capability) { c.Spec.MinimumApproval = 1 })
			j.ask()
			return nil
		}},
	}
}

func peopleAttacks() []attack {
	const waits = v1alpha1.ReasonAwaitingApproval
	number := func(n string) map[string][]string { return map[string][]string{employee: {n}} }
	return []attack{
		{"approving one's own request", "dana, who may approve", "valetkey-decisions", "nobody decides on their own request", func(j *journey) error {
			asks := j.askedBy("dana-"+j.name, nil)
			digest := j.waitsForApproval(asks)
			return j.approve(j.as("dana-"+j.name, nil, "release-managers"), digest)
		}},
		{"approving one's own request under another name", "dana-admin", waits, "is the requester under another name", func(j *journey) error {
			digest := j.waitsForApproval(j.askedBy("dana-"+j.name, number("7")))
			return j.approve(j.as("dana-admin", number("7"), "release-managers"), digest)
		}},
		{"approving one's own request by a name in another case", "DANA", waits, "is the requester under another name", func(j *journey) error {
			digest := j.waitsForApproval(j.askedBy("dana-"+j.name, nil))
			return j.approve(j.as("DANA-"+j.name, nil, "release-managers"), digest)
		}},
		{"approving twice under two names", "bob and bob-admin", waits, "is bob under another name", func(j *journey) error {
			digest := j.waitsForApproval(func(p *v1alpha1.CapabilityPolicySpec) { p.Approval.Required = 2 })
			j.must(j.approve(j.as("bob", number("8"), "release-managers"), digest))
			return j.approve(j.as("bob-admin", number("8"), "release-managers"), digest)
		}},
		{"approving with the verb, but not named by the policy", "mallory", waits, "mallory is no approver of this policy", func(j *journey) error {
			digest := j.waitsForApproval()
			j.bind("valetkey-approver", user("mallory"))
			return j.approve(j.as("mallory", nil), digest)
		}},
		{"approving as named by the policy, without the verb", "sam", "valetkey-decisions", "lacks the verb approve", func(j *journey) error {
			digest := j.waitsForApproval(func(p *v1alpha1.CapabilityPolicySpec) {
				p.Approval.Approvers = []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: "sam-" + j.name}}
			})
			role := &rbacv1.Role{ObjectMeta: j.meta(j.name + "-patch"), Rules: []rbacv1.PolicyRule{{APIGroups: []string{"valetkey.dev"}, Resources: []string{"capabilityrequests"}, Verbs: []string{"get", "patch"}}}}
			j.store(role)
			j.store(&rbacv1.RoleBinding{ObjectMeta: j.meta(role.Name), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name}, Subjects: []rbacv1.Subject{user("sam-" + j.name)}})
			return j.approve(j.as("sam-"+j.name, nil), digest)
		}},
		{"approving as the approver of a sibling policy", "sam", waits, "sam is no approver of this policy", func(j *journey) error {
			sibling := j.policy(byAlice, func(p *v1alpha1.CapabilityPolicySpec) {
				p.Approval.Required, p.Approval.Approvers = 2, []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: "sam"}}
			})
			sibling.Name += "-sibling"
			j.store(sibling)
			digest := j.waitsForApproval()
			j.bind("valetkey-approver", user("sam"))
			return j.approve(j.as("sam", nil), digest)
		}},
		{"a ServiceAccount approves as one of the approvers' group", "ServiceAccount ci/gate", waits, "which takes a ServiceAccount only where it names it as one", func(j *journey) error {
			gate := j.gate()
			digest := j.waitsForApproval(func(p *v1alpha1.CapabilityPolicySpec) {
				p.Approval.Approvers = []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: "system:authenticated"}}
			})
			return j.approve(gate, digest)
		}},
		{"a GitOps controller with every right in the namespace approves", "ServiceAccount ci/gitops", waits, "gitops is no approver of this policy, which takes a ServiceAccount only", func(j *journey) error {
			digest := j.waitsForApproval()
			return j.approve(j.deputy("gitops", "cluster-admin"), digest)
		}},
		{"a ServiceAccount named as a user", "admin", refusal.CRD, "name a ServiceAccount by kind ServiceAccount", func(j *journey) error {
			return j.w.admin.Create(j.Context(), j.policy(byAlice, func(p *v1alpha1.CapabilityPolicySpec) {
				p.Approval.Approvers = []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: "system:serviceaccount:ci:gate"}}
			}))
		}},
	}
}

// gate is a ServiceAccount of another namespace that may approve here.
func (j *journey) gate() client.Client {
	j.Helper()
	return j.deputy("gate", "valetkey-approver")
}

// deputy is a ServiceAccount of another namespace that has a role here.
func (j *journey) deputy(name, role string) client.Client {
	j.Helper()
	ci := "ci-" + j.name
	j.store(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ci}})
	j.must(j.w.admin.Create(j.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ci, Name: name}}))
	j.bind(role, serviceAccount(ci, name))
	c, err := j.w.account(j.Context(), ci, name)
	j.must(err)
	return c
}

// TestAServiceAccountApprovesWhereThePolicyNamesIt is what makes its refusal elsewhere a matter of the policy.
func TestAServiceAccountApprovesWhereThePolicyNamesIt(t *testing.T) {
	j := begin(t, "gated")
	gate := j.gate()
	j.must(j.approve(gate, j.waitsForApproval(func(p *v1alpha1.CapabilityPolicySpec) {
		p.Approval.Approvers = []v1alpha1.Subject{{Kind: v1alpha1.SubjectServiceAccount, Namespace: "ci-gated", Name: "gate"}}
	})))
	j.awaitDelivered()
}

// ownCapability makes a capability of the journey's own, and a provider; the role is one that nobody may assume.
func (j *journey) ownCapability(edits ...func(*v1alpha1.Capability)) *v1alpha1.Capability {
	j.Helper()
	j.provider(j.w.cluster.AWS().Endpoint)
	j.store(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: identities, Name: j.name,
		Annotations: map[string]string{v1alpha1.AnnotationCapability: j.name}}})
	c := j.capabilityObject(j.name, j.role())
	for _, edit := range edits {
		edit(c)
	}
	j.store(c)
	return c
}

// changes has an administrator change something while a request waits for its approval, which then comes all the same.
func changes(change func(*journey, *v1alpha1.Capability)) func(*journey) error {
	return func(j *journey) error {
		c := j.ownCapability()
		digest := j.waitsForApproval()
		j.must(j.w.admin.Get(j.Context(), client.ObjectKeyFromObject(c), c))
		change(j, c)
		j.awaitRequestEnd(v1alpha1.ReasonRefused, "create another request")
		return j.approveLate(digest)
	}
}

func updates(edit func(*v1alpha1.Capability)) func(*journey, *v1alpha1.Capability) {
	return func(j *journey, c *v1alpha1.Capability) {
		edit(c)
		j.must(j.w.admin.Update(j.Context(), c))
	}
}

func changeAttacks() []attack {
	const by, changed = "catalogue editor", v1alpha1.ReasonReviewChanged
	return []attack{
		{"a capability gets another role while its request waits", by, changed, "the principal is arn:aws:iam::123456789012:role/administrator and was arn:", changes(updates(func(c *v1alpha1.Capability) {
			c.Spec.AWS.RoleARN = "arn:aws:iam::123456789012:role/administrator"
		}))},
		{"a capability gets a wider scope while its request waits", by, changed, "the scope is s3:PutObject on arn:aws:s3:::previews/* and was s3:PutObject on arn:aws:s3:::previews/web-app/*", changes(updates(func(c *v1alpha1.Capability) {
			c.Spec.AWS.Scope[0].Resources = []string{"arn:aws:s3:::previews/*"}
		}))},
		{"a capability gets more actions while its request waits", by, changed, "the scope is s3:DeleteObject,s3:PutObject on", changes(updates(func(c *v1alpha1.Capability) {
			c.Spec.AWS.Scope[0].Actions = []string{"s3:DeleteObject", "s3:PutObject"}
		}))},
		{"a capability gets another provider while its request waits", by, changed, "the provider is aws-preview and was attack-", changes(updates(func(c *v1alpha1.Capability) {
			c.Spec.ProviderRef.Name = "aws-preview"
		}))},
		{"a provider is changed while a request waits", by, changed, "a field of the capability or of its provider", changes(func(j *journey, _ *v1alpha1.Capability) {
			p := &v1alpha1.CapabilityProvider{}
			j.must(j.w.admin.Get(j.Context(), client.ObjectKey{Name: j.name}, p))
			p.Spec.AWS.Region = "eu-central-1"
			j.must(j.w.admin.Update(j.Context(), p))
		})},
		{"a capability lets go of its runner while its request waits", by, changed, "a field of the capability or of its provider", changes(updates(func(c *v1alpha1.Capability) {
			c.Spec.Runner = nil
		}))},
		{"a capability is made again under its name while its request waits", by, v1alpha1.ReasonDeniedByPolicy, "there is no capability", func(j *journey) error {
			c := j.ownCapability()
			digest := j.waitsForApproval()
			j.must(j.w.admin.Delete(j.Context(), c))
			j.awaitRequestEnd(v1alpha1.ReasonRefused, "there is no capability")
			again := j.capabilityObject(j.name, "arn:aws:iam::123456789012:role/administrator")
			j.must(j.w.admin.Create(j.Context(), again))
			return j.approveLate(digest)
		}},
	}
}

// full makes the journey's policy allow one credential, and uses it up: what is approved then waits, and is not issued.
func (j *journey) full(edits ...func(*v1alpha1.CapabilityPolicySpec)) {
	j.Helper()
	one := int32(1)
	j.allow(append(edits, func(p *v1alpha1.CapabilityPolicySpec) { p.Limits = &v1alpha1.Limits{Active: &one} })...)
	other := *j
	other.name = j.name + "-first"
	in := func(r *v1alpha1.CapabilityRequest) { r.Spec.Environment = j.name }
	other.request(in)
	other.job()
	if digest := condition(j.firstDecision(&other).Status.Conditions, v1alpha1.ConditionAllowed).Reason; digest == v1alpha1.ReasonAwaitingApproval {
		j.must(other.approve(j.w.alice, other.awaitReviewed()))
	}
	other.awaitDelivered()
}

func (j *journey) firstDecision(of *journey) *v1alpha1.CapabilityRequest {
	j.Helper()
	return await(j.T, j.w, of.requestObject(), "decided", func(r *v1alpha1.CapabilityRequest) bool {
		return r.Status.GrantName != "" || condition(r.Status.Conditions, v1alpha1.ConditionAllowed).Reason == v1alpha1.ReasonAwaitingApproval
	})
}

func jobAttacks() []attack {
	frozen := func(patch string) func(*journey) error {
		return func(j *journey) error {
			j.waitsForApproval()
			return j.w.admin.Patch(j.Context(), j.sampleJob(), client.RawPatch(types.MergePatchType, []byte(patch)))
		}
	}
	return []attack{
		{"a Job made again under its name, between the approval and the credential", "agent", v1alpha1.ReasonReviewChanged, "create another request", func(j *journey) error {
			j.full(byAlice)
			j.ask()
			j.must(j.approve(j.w.alice, j.awaitReviewed()))
			j.awaitDecision(v1alpha1.ReasonLimitReached)
			j.jobAgain()
			return nil
		}},
		{"a Job made again under its name, before the approval", "agent", v1alpha1.ReasonReviewChanged, "create another request", func(j *journey) error {
			digest := j.waitsForApproval()
			j.must(j.agent.Delete(j.Context(), j.sampleJob(), client.PropagationPolicy(metav1.DeletePropagationBackground)))
			j.awaitRequestEnd(v1alpha1.ReasonRefused, "the Job that was reviewed is gone")
			awaitGone(j.T, j.w, j.sampleJob())
			j.job()
			return j.approveLate(digest)
		}},
		{"a Job made again under its name, while its credential is issued", "agent", v1alpha1.ReasonJobGone, "the Job was deleted", func(j *journey) error {
			asked, again := make(chan struct{}), make(chan struct{})
			j.strange(func(w http.ResponseWriter, r *http.Request) {
				close(asked)
				<-again
				issues(j.name, 15*time.Minute)(w, r)
			})
			<-asked
			j.jobAgain()
			close(again)
			return nil
		}},
		{"the label of a held Job", "admin", "valetkey-jobs-frozen", "never change", frozen(`{"metadata":{"labels":{"valetkey.dev/request":"another"}}}`)},
		{"an annotation of a held Job, for who created it", "admin", "valetkey-jobs-frozen", "never change", frozen(`{"metadata":{"annotations":{"valetkey.dev/created-by":"alice@example.com"}}}`)},
		{"the template of a held Job", "admin", "valetkey-jobs-frozen", "is frozen", frozen(`{"spec":{"template":{"metadata":{"annotations":{"example.com/profile":"mine"}}}}}`)},
		{"where a held Job's Pod runs", "admin", "valetkey-jobs-frozen", "is frozen", frozen(`{"spec":{"template":{"spec":{"nodeSelector":{"node":"mine"}}}}}`)},
		{"a second Job with the label of the first", "agent", "valetkey-jobs", "is named valetkey-<request>", func(j *journey) error {
			j.waitsForApproval()
			return j.agent.Create(j.Context(), j.sampleJob(func(job *batchv1.Job) { job.Name += "-too" }))
		}},
		{"a Job with a generated name", "agent", "valetkey-jobs", "is named valetkey-<request>", func(j *journey) error {
			j.allow()
			j.request()
			return j.agent.Create(j.Context(), j.sampleJob(func(job *batchv1.Job) { job.Name, job.GenerateName = "", job.Name+"-" }))
		}},
		{"a Job whose annotations leave no room for the grant's", "agent", v1alpha1.ReasonJobRefused, "the annotations of the Job's template are longer than", func(j *journey) error {
			j.allow()
			j.request()
			j.job(func(job *batchv1.Job) {
				half := strings.Repeat("x", 100<<10)
				job.Spec.Template.Annotations = map[string]string{"example.com/huge": half, "example.com/as-huge": half}
			})
			return nil
		}},
	}
}

// limitAttacks are tried by an agent that may create and delete its own requests, under a policy that lets one
// credential work.
func limitAttacks() []attack {
	const by, refused, words = "agent", v1alpha1.ReasonLimitReached, "lets 1 credential work at the same time, and 1 does"
	// after has the first credential delivered, and what it came from taken away.
	after := func(takes func(j, first *journey)) func(*journey) error {
		return func(j *journey) error {
			j.full()
			first := j.beside(j.name + "-first")
			takes(j, first)
			j.ask()
			return nil
		}
	}
	return []attack{
		{"more requests than the limit, one after the other", by, refused, words, after(func(*journey, *journey) {})},
		{"more requests than the limit, all at once", by, refused, words, func(j *journey) error {
			j.allow(one)
			granted, err := j.crowd(25)
			if granted != 1 {
				j.Errorf("%d of 25 were granted", granted)
			}
			j.ask()
			return err
		}},
		{"deleting the request, to ask for another credential", by, refused, words, after(func(j, first *journey) {
			j.must(j.agent.Delete(j.Context(), first.requestObject()))
			awaitGone(j.T, j.w, first.requestObject())
		})},
		{"deleting the Job, to ask for another credential", by, refused, words, after(func(j, first *journey) {
			j.must(j.agent.Delete(j.Context(), first.sampleJob(), client.PropagationPolicy(metav1.DeletePropagationBackground)))
			first.awaitEnded()
		})},
		{"deleting the grant, to ask for another credential", "alice", refused, words, after(func(j, first *journey) {
			j.must(j.w.alice.Delete(j.Context(), first.grantObject()))
			first.awaitEnded()
		})},
		{"finishing the Job early, to ask for another credential", by, refused, words, after(func(j, first *journey) {
			first.finish(corev1.PodSucceeded)
			first.awaitEnded()
		})},
		{"taking the finalizer off a grant that a limit counts", "admin", "valetkey-grants",
			"the operator removes the finalizer", func(j *journey) error {
				j.full()
				first := j.beside(j.name + "-first")
				j.must(j.agent.Delete(j.Context(), first.requestObject()))
				first.awaitEnded()
				patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
				return j.w.admin.Patch(j.Context(), first.grantObject(), patch)
			}},
		{"emptying the list of attempts that may work", "admin", "valetkey-status", "operator alone", func(j *journey) error {
			j.full()
			g := j.beside(j.name + "-first").awaitDelivered()
			return retry.RetryOnConflict(retry.DefaultRetry, func() error {
				j.must(j.w.admin.Get(j.Context(), client.ObjectKeyFromObject(g), g))
				g.Status.Exposed = nil
				return j.w.admin.Status().Update(j.Context(), g)
			})
		}},
	}
}

func policyAttacks() []attack {
	expression := func(effect v1alpha1.PolicyEffect, e string) func(*journey) error {
		return func(j *journey) error {
			p := j.policy(func(p *v1alpha1.CapabilityPolicySpec) {
				p.Effect, p.When = effect, []v1alpha1.Expression{{Expression: e, Message: "whatever"}}
			})
			p.Name += "-when"
			j.store(p)
			if effect == v1alpha1.EffectDeny {
				j.allow()
			}
			await(j.T, j.w, p, "looked at", func(p *v1alpha1.CapabilityPolicy) bool { return len(p.Status.Conditions) > 0 })
			j.ask()
			return nil
		}
	}
	const denied = v1alpha1.ReasonDeniedByPolicy
	costly := "job.images.all(a, job.images.all(b, job.images.all(c, job.images.all(d, a + b == c + d))))"
	return []attack{
		{"a pattern that is not anchored", "admin", refusal.CRD, "spec.repos[0]", func(j *journey) error {
			return j.w.admin.Create(j.Context(), j.policy(func(p *v1alpha1.CapabilityPolicySpec) { p.Repos = []string{"^main|web-app$"} }))
		}},
		{"a repo whose name begins as one that is allowed", "agent", denied, "allows repos web", repo("web", "web-app")},
		{"a repo whose name ends as one that is allowed", "agent", denied, "allows repos app", repo("app", "web-app")},
		{"a repo in another case", "agent", denied, "allows repos web-app", repo("web-app", "Web-App")},
		{"a repo of another owner, past a *", "agent", denied, "allows repos acme/*", repo("acme/*", "mallory/web-app")},
		{"a folder below a repo, past a *", "agent", v1alpha1.ReasonNameRefused, "write repo as web-app/fork", repo("acme/*", "acme/web-app/fork")},
		{"the folder of an owner, past a *", "agent", v1alpha1.ReasonNameRefused, "write repo as OWNER/acme", repo("acme/*", "acme")},
		{"an Allow whose expression fails", "agent", denied, "cannot tell whether it matches", expression(v1alpha1.EffectAllow, "request.requester.groups[99] == 'x'")},
		{"an Allow whose expression does not end", "agent", denied, "is not valid, so it allows nothing: when[0]: the expression could cost", expression(v1alpha1.EffectAllow, costly)},
		{"an Allow whose expression asks for the environment of the operator", "agent", denied, "is not valid, so it allows nothing: when[0]: the expression does not compile", expression(v1alpha1.EffectAllow, "env('AWS_SECRET') != ''")},
		{"a Deny whose expression fails", "agent", denied, "denies it, because one of its expressions failed", expression(v1alpha1.EffectDeny, "request.requester.groups[99] == 'x'")},
		{"a Deny whose expression does not compile", "agent", denied, "denies what its fields match, because it is not valid", expression(v1alpha1.EffectDeny, "request.nothing")},
		{"a Deny whose expression does not end", "agent", denied, "denies what its fields match, because it is not valid", expression(v1alpha1.EffectDeny, costly)},
	}
}

// repo asks for one repo where the policy allows another. The capability takes names of as many parts as the policy's.
func repo(allowed, asked string) func(*journey) error {
	return func(j *journey) error {
		j.ownCapability(func(c *v1alpha1.Capability) { c.Spec.RepoParts = int32(strings.Count(allowed, "/") + 1) })
		j.asks = j.name
		j.allow(func(p *v1alpha1.CapabilityPolicySpec) { p.Repos = []string{allowed} })
		j.request(func(r *v1alpha1.CapabilityRequest) { r.Spec.Repo = asked })
		j.job()
		return nil
	}
}

func valueAttacks() []attack {
	asks := func(edit func(*v1alpha1.CapabilityRequest)) func(*journey) error {
		return func(j *journey) error {
			// Other tests run at the same time: this policy must not allow what they ask for.
			j.allow(func(p *v1alpha1.CapabilityPolicySpec) {
				p.Repos, p.Environments = []string{"*"}, []string{"*"}
				p.When = []v1alpha1.Expression{{Expression: fmt.Sprintf("request.taskID == %q", j.name), Message: "of another test"}}
			})
			return j.agent.Create(j.Context(), j.sampleRequest(func(r *v1alpha1.CapabilityRequest) { r.Spec.TaskID = j.name }, edit))
		}
	}
	var all []attack
	repos := map[string]string{
		"a wildcard": "web-app*", "a wildcard for one character": "web-ap?", "a percent-encoded slash": "web%2fapp", "a way out": "web/../payments",
		"a percent-encoded way out": "web/%2e%2e/payments", "nothing between two slashes": "web//app", "a full-width letter": "ｗeb-app",
		"a letter that looks alike": "wеb-app", "a letter that is not seen": "web\u200b-app", "a policy variable": "${aws:username}",
		"another resource": `web","arn:aws:s3:::payments/*`, "a dash in front": "-web-app", "a dash behind a slash": "acme/-web-app", "a dot behind": "web-app.", "two dots": "web..app",
		"a dot for a name": "acme/.", "the sign of a unit for a letter": "web-app\u212a",
	}
	for _, what := range slices.Sorted(maps.Keys(repos)) {
		all = append(all, attack{"a repo with " + what, "agent", refusal.CRD, "spec.repo", asks(func(r *v1alpha1.CapabilityRequest) { r.Spec.Repo = repos[what] })})
	}
	environments := map[string]string{"a wildcard": "pre*", "a way out": "../pre", "a slash": "pre/view", "a dot": "pre.view", "a dash in front": "-preview", "a blank": "pre view", "a letter that looks alike": "prеview"}
	for _, what := range slices.Sorted(maps.Keys(environments)) {
		all = append(all, attack{"an environment with " + what, "agent", refusal.CRD, "spec.environment", asks(func(r *v1alpha1.CapabilityRequest) { r.Spec.Environment = environments[what] })})
	}
	return append(all,
		attack{"a request's name of 55 characters", "agent", refusal.CRD, "54 characters", asks(func(r *v1alpha1.CapabilityRequest) { r.Name = strings.Repeat("n", 55) })},
		attack{"annotations of more than 256 KiB", "agent", refusal.CRD, "annotations", asks(func(r *v1alpha1.CapabilityRequest) {
			r.Annotations = map[string]string{"example.com/huge": strings.Repeat("x", 256<<10)}
		})},
		attack{"a scope whose wildcard touches a value", "agent", v1alpha1.ReasonIndeterminate, "can reach what another request is given", func(j *journey) error {
			j.allow()
			j.ownCapability(func(c *v1alpha1.Capability) {
				c.Spec.AWS.Scope[0].Resources = []string{"arn:aws:s3:::previews/${request.repo}*"}
			})
			j.ask()
			return nil
		}},
	)
}

func exposureAttacks() []attack {
	// may gives an account of a namespace of the journey's own a right before the journey begins.
	// bound binds a role in the journey's namespace, and asks.
	bound := func(kind, role string, who func(*journey) rbacv1.Subject) func(*journey) error {
		return func(j *journey) error {
			j.must(j.w.admin.Create(j.Context(), &rbacv1.RoleBinding{ObjectMeta: j.meta("more"),
				RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: role},
				Subjects: []rbacv1.Subject{who(j)}}))
			j.allow()
			j.ask()
			return nil
		}
	}
	enrolled := func(next func(*journey) error) func(*journey) error {
		return func(j *journey) error {
			j.enrol(j.name)
			return next(j)
		}
	}
	account := func(name string) func(*journey) rbacv1.Subject {
		return func(j *journey) rbacv1.Subject { return serviceAccount(j.namespace, name) }
	}
	group := func(name string) func(*journey) rbacv1.Subject {
		return func(*journey) rbacv1.Subject {
			return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: name}
		}
	}
	given := func(who func(*journey) rbacv1.Subject, rule rbacv1.PolicyRule) func(*journey) error {
		return enrolled(func(j *journey) error {
			j.must(j.w.admin.Create(j.Context(), &rbacv1.Role{ObjectMeta: j.meta("more"), Rules: []rbacv1.PolicyRule{rule}}))
			return bound("Role", "more", who)(j)
		})
	}
	may := func(name string, rule rbacv1.PolicyRule) func(*journey) error { return given(account(name), rule) }
	secrets := func(verb string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{verb}}
	}
	approve := rbacv1.PolicyRule{APIGroups: []string{"valetkey.dev"}, Resources: []string{"capabilityrequests"}, Verbs: []string{"approve"}}
	everything := rbacv1.PolicyRule{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}
	// The name of the request is the requester's own choice, so a right on one name is as good as on all.
	byName := func(j *journey) error {
		named := approve
		named.ResourceNames = []string{j.name}
		return may("runner", named)(j)
	}
	const strong = v1alpha1.ReasonRequesterTooStrong
	return []attack{
		{"a requester who may get Secrets", "agent", strong, "web-app-bot may read Secrets", may("web-app-bot", secrets("get"))},
		{"a requester who may list Secrets", "agent", strong, "web-app-bot may list Secrets", may("web-app-bot", secrets("list"))},
		{"a requester who may watch Secrets", "agent", strong, "web-app-bot may watch Secrets", may("web-app-bot", secrets("watch"))},
		{"a requester who may approve", "agent", strong, "web-app-bot may approve requests", may("web-app-bot", approve)},
		{"a requester who may do everything in the namespace", "agent", strong, "web-app-bot may", may("web-app-bot", everything)},
		{"an account that the requester can run as may get Secrets", "agent", strong, "runner may read Secrets", may("runner", secrets("get"))},
		{"an account that the requester can run as may approve", "agent", strong, "runner may approve requests", may("runner", approve)},
		{"an account that the requester can run as may approve this one request", "agent", strong, "runner may approve requests", byName},
		{"an ingress controller that lives in the namespace and reads every Secret", "agent", strong,
			"runner may read, list and watch Secrets", func(j *journey) error {
				role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: j.name},
					Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"},
						Verbs: []string{"get", "list", "watch"}}}}
				j.store(role)
				j.enrol(j.name)
				j.store(&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: j.name},
					RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
					Subjects: []rbacv1.Subject{serviceAccount(j.namespace, "runner")}})
				j.allow()
				j.ask()
				return nil
			}},
		{"a requester who may patch Secrets, which reads them", "agent", strong, "web-app-bot may patch Secrets", may("web-app-bot", secrets("patch"))},
		{"a requester who may delete collections of Secrets, and is answered with what was in one", "agent", strong, "web-app-bot may deletecollection Secrets",
			may("web-app-bot", secrets("deletecollection"))},
		{"an account that may delete Secrets, and is answered with one that something keeps", "agent", strong, "runner may delete Secrets",
			may("runner", secrets("delete"))},
		{"a GitOps controller that asks for itself", "ServiceAccount web-app-bot, admin of the namespace", strong,
			"web-app-bot may read, list, watch, patch, delete and deletecollection Secrets", enrolled(bound("ClusterRole", "admin", account("web-app-bot")))},
		{"an account may get Secrets of no name, which is each of them", "agent", strong, "runner may read Secrets",
			func(j *journey) error {
				unnamed := secrets("get")
				unnamed.ResourceNames = []string{""}
				return may("runner", unnamed)(j)
			}},
		{"an account that does not exist yet may list Secrets", "agent, who could have it made", strong,
			"yet-to-come may list Secrets", may("yet-to-come", secrets("list"))},
		{"an account, named as a user, may watch Secrets", "agent", strong, "runner may watch Secrets",
			given(func(j *journey) rbacv1.Subject { return user("system:serviceaccount:" + j.namespace + ":runner") }, secrets("watch"))},
		{"everybody who is known may approve here", "agent", strong, "group system:authenticated may approve requests",
			enrolled(bound("ClusterRole", "valetkey-approver", group("system:authenticated")))},
		{"an account may read Secrets by an aggregated role", "agent", strong, "runner may read Secrets",
			func(j *journey) error {
				j.enrol(j.name)
				label := map[string]string{"aggregate-to": j.name}
				j.store(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: j.name + "-part", Labels: label},
					Rules: []rbacv1.PolicyRule{secrets("get")}})
				whole := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: j.name},
					AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: label}}}}
				j.store(whole)
				await(j.T, j.w, whole, "aggregated", func(r *rbacv1.ClusterRole) bool { return len(r.Rules) > 0 })
				return bound("ClusterRole", j.name, account("runner"))(j)
			}},
		{"a cluster administrator asks for itself", "root", strong, "may read, list, watch, patch, delete and deletecollection Secrets",
			func(j *journey) error {
				allow := j.askedBy("root-"+j.name, nil)
				j.agent = j.as("root-"+j.name, nil, "system:masters")
				j.allow(allow)
				j.ask()
				return nil
			}},
		{"a group of all the namespace's accounts may get Secrets", "agent", strong, "may read, list, watch, patch, delete and deletecollection Secrets",
			func(j *journey) error {
				return enrolled(bound("ClusterRole", "admin", group("system:serviceaccounts:"+j.name)))(j)
			}},
		{"a provider that points elsewhere, to be sent the operator's token", "catalogue editor", v1alpha1.ReasonIndeterminate, "is not allowed; start the operator with --aws-endpoint=", func(j *journey) error {
			thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { j.Error("something was sent to it") }))
			j.Cleanup(thief.Close)
			j.allow()
			j.provider(thief.URL)
			j.capability(j.name, "arn:aws:iam::123456789012:role/nobody")
			j.ask()
			return nil
		}},
	}
}

func grantAttacks() []attack {
	return []attack{
		{"a grant restored from a backup", "admin", "valetkey-grants", "only the operator grants", func(j *journey) error {
			j.waitsForApproval()
			return j.w.admin.Create(j.Context(), j.restored())
		}},
		{"a grant of an earlier request, restored for the one that has its name now", "the operator's user", "valetkey-grants", "owned by its request", func(j *journey) error {
			j.waitsForApproval()
			g := j.restored()
			g.Spec.RequestRef.UID = uuid.NewString()
			return j.as(operatorUser, nil).Create(j.Context(), g)
		}},
	}
}

const operatorUser = "system:serviceaccount:valetkey-system:valetkey"

// TestARestoredGrantIsNeverMinted: a backup is restored by whoever the rules let do it, the request has been made anew since.
func TestARestoredGrantIsNeverMinted(t *testing.T) {
	j := begin(t, "restored")
	j.waitsForApproval()
	g := j.restored()
	g.Spec.RequestRef.UID = uuid.NewString()
	g.OwnerReferences[0].UID = types.UID(g.Spec.RequestRef.UID)
	j.must(j.as(operatorUser, nil).Create(t.Context(), g))
	awaitGone(t, j.w, j.grantObject())
	j.awaitWords(v1alpha1.ReasonAwaitingApproval, "waits for 1 approval")
	j.expectNothingIssued()
	j.expectAudited("unknown|revoked", v1alpha1.ReasonNeverIssued, v1alpha1.ReasonGrantDeleted)
	records, err := j.operator.records(j.namespace, j.name)
	j.must(err)
	for _, r := range records {
		if r.Event == audit.EventIssuing || r.CredentialID != "" {
			t.Errorf("it was minted: %+v", r)
		}
	}
}

// restored is a grant without a status.
func (j *journey) restored() *v1alpha1.CapabilityGrant {
	j.Helper()
	r := &v1alpha1.CapabilityRequest{}
	j.must(j.w.admin.Get(j.Context(), client.ObjectKeyFromObject(j.requestObject()), r))
	return &v1alpha1.CapabilityGrant{
		ObjectMeta: metav1.ObjectMeta{Namespace: j.namespace, Name: j.name, Labels: map[string]string{v1alpha1.LabelRequest: j.name},
			Finalizers:      []string{v1alpha1.FinalizerRevoke},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(r, v1alpha1.GroupVersion.WithKind("CapabilityRequest"))}},
		Spec: v1alpha1.CapabilityGrantSpec{
			LeaseID: uuid.NewString(), RequestRef: v1alpha1.ObjectReference{Name: j.name, UID: string(r.UID)}, Requester: r.Spec.Requester.Username,
			TaskID: r.Spec.TaskID, Actor: r.Spec.Actor, Repo: r.Spec.Repo, Environment: r.Spec.Environment, Capability: r.Spec.Capability,
			Provider: v1alpha1.GrantProvider{Name: "aws-preview", Type: "aws-sts"}, Scope: []string{"s3:PutObject"}, TTLSeconds: 900,
			Job:      v1alpha1.GrantJob{Name: v1alpha1.NamePrefix + j.name, UID: r.Status.Review.Job.UID, Container: r.Spec.Container},
			Approval: v1alpha1.GrantApproval{Policy: j.name, PolicyGeneration: 1, Digest: r.Status.Review.Digest},
		},
	}
}

// TestNamesAndAnnotationsAtTheirLimitsWork: what is one over is in the table.
func TestNamesAndAnnotationsAtTheirLimitsWork(t *testing.T) {
	j := begin(t, strings.Repeat("n", 54))
	huge := map[string]string{"example.com/huge": strings.Repeat("x", 16<<10-len("example.com/huge"))}
	j.allow(byAlice)
	j.request(func(r *v1alpha1.CapabilityRequest) { r.Annotations = huge })
	j.job(func(job *batchv1.Job) {
		job.Annotations = map[string]string{"example.com/huge": strings.Repeat("x", 200<<10)}
	})
	j.must(j.approve(j.w.alice, j.awaitReviewed()))
	j.awaitDelivered()
	j.finish(corev1.PodSucceeded)
	j.awaitEnd(v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted)
}

func TestARequestWithAGeneratedNameIsGranted(t *testing.T) {
	j := begin(t, "generated")
	j.allow()
	r := j.sampleRequest(func(r *v1alpha1.CapabilityRequest) { r.Name, r.GenerateName = "", "generated-" })
	j.must(j.agent.Create(t.Context(), r))
	j.name = r.Name
	j.job()
	j.awaitDelivered()
}
