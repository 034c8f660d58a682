// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/controller/controllertest"
)

// question is one request, in a cluster that differs in one thing from one in which it would be granted.
type question struct {
	// cluster, request and job change what there is.
	cluster func(*controllertest.Env)
	request func(*v1alpha1.CapabilityRequest)
	job     func(*batchv1.Job)
	// reason is the operator's, and words are in its message.
	reason, words string
	// unknown are those of the answers that cannot know it: can knows no Job, and policy test no cluster.
	unknown []string
}

// reply is an answer.
type reply struct{ reason, message string }

// TestSame_EverybodyGivesTheOperatorsAnswer asks all that answers whether something may be had, and why not, the same
// questions: with the same reason, and in the same words.
func TestSame_EverybodyGivesTheOperatorsAnswer(t *testing.T) {
	for name, q := range questions() {
		t.Run(name, func(t *testing.T) {
			e := controllertest.New(t, time.Minute, v1alpha1.RevocationImmediate)
			e.Policy("one", 0)
			if q.cluster != nil {
				q.cluster(e)
			}
			a := &asker{Env: e, question: q}
			a.ask()
			want := a.operator()
			if want.reason != q.reason || !strings.Contains(want.message, q.words) {
				t.Fatalf("the operator says %s: %s; want %s: …%s…", want.reason, want.message, q.reason, q.words)
			}
			for who, asks := range map[string]func() reply{
				"why": a.why, "describe": a.describe, "can": a.can, "mcp status": a.status, "mcp ask": a.mcpAsk,
				"policy test": a.policyTest,
			} {
				if !slices.Contains(q.unknown, who) {
					a.compare(who, asks(), want)
				}
			}
		})
	}
}

// questions has each reason that a policy, the catalogue, the Job, the namespace and rights can give.
func questions() map[string]question {
	type env = controllertest.Env
	change := func(edit func(*v1alpha1.CapabilityPolicySpec)) func(*env) {
		return func(e *env) { e.Change("one", edit) }
	}
	const denied, jobRefused, tooStrong = v1alpha1.ReasonDeniedByPolicy, v1alpha1.ReasonJobRefused,
		v1alpha1.ReasonRequesterTooStrong
	noJob, noCluster := []string{"can"}, []string{"policy test"}
	return map[string]question{
		"a policy denies it": {cluster: func(e *env) {
			e.Store(&v1alpha1.CapabilityPolicy{ObjectMeta: metav1.ObjectMeta{Name: "freeze"},
				Spec: v1alpha1.CapabilityPolicySpec{Effect: v1alpha1.EffectDeny, Capabilities: []string{"*"}}})
		}, reason: denied, words: "policy freeze denies it"},
		"a policy that is not valid denies it": {cluster: func(e *env) {
			e.Store(&v1alpha1.CapabilityPolicy{ObjectMeta: metav1.ObjectMeta{Name: "odd"},
				Spec: v1alpha1.CapabilityPolicySpec{
					Effect: v1alpha1.EffectDeny, Capabilities: []string{"*"},
					When: []v1alpha1.Expression{{Expression: "nonsense", Message: "m"}}}})
		}, reason: denied, words: "because it is not valid"},
		"nobody lets the requester": {cluster: change(func(p *v1alpha1.CapabilityPolicySpec) {
			p.Requesters[0].Name = "alice"
		}),
			reason: denied, words: "no policy lets bot ask for publish"},
		"for another namespace": {cluster: change(func(p *v1alpha1.CapabilityPolicySpec) {
			p.Namespaces = []string{"others"}
		}),
			reason: denied, words: "allows namespaces others"},
		"for another repo": {cluster: change(func(p *v1alpha1.CapabilityPolicySpec) { p.Repos = []string{"api"} }),
			reason: denied, words: "policy one allows repos api"},
		"for another environment": {cluster: change(func(p *v1alpha1.CapabilityPolicySpec) {
			p.Environments = []string{"live"}
		}),
			reason: denied, words: "allows environments live"},
		"for too long": {cluster: change(func(p *v1alpha1.CapabilityPolicySpec) { p.MaxTTLSeconds = ptr.To[int32](30) }),
			reason: denied, words: "allows ttlSeconds up to 30"},
		"an expression": {cluster: change(func(p *v1alpha1.CapabilityPolicySpec) {
			p.When = []v1alpha1.Expression{{Expression: "request.taskID == 'other'", Message: "another task"}}
		}), reason: denied, words: "asks: another task"},
		"an expression about the Job": {cluster: change(func(p *v1alpha1.CapabilityPolicySpec) {
			p.When = []v1alpha1.Expression{{Expression: "job.serviceAccountName == 'other'", Message: "another account"}}
		}), reason: denied, words: "asks: another account", unknown: noJob},
		"an image without a digest": {job: func(j *batchv1.Job) {
			j.Spec.Template.Spec.Containers[0].Image = "registry.example.com/publisher:1"
		},
			reason: denied, words: "does not accept UnpinnedImage", unknown: noJob},
		"a Job that may not hold a credential": {job: func(j *batchv1.Job) {
			j.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
		},
			reason: jobRefused, words: "restartPolicy", unknown: []string{"can", "mcp ask"}},
		"no such capability": {request: func(r *v1alpha1.CapabilityRequest) { r.Spec.Capability = "publich" },
			reason: denied, words: `there is no capability "publich"; policies let this requester ask for publish`},
		"a requester who may read Secrets": {cluster: binding("edit", rbacv1.Subject{Kind: rbacv1.UserKind,
			Name: "bot"}, secretReader()),
			reason: tooStrong, words: "policy one does not accept SecretReader: " +
				"bot may read, list, watch, patch, delete and deletecollection Secrets in namespace agents (RoleBinding edit)"},
		"an account that may read Secrets": {cluster: binding("edit", rbacv1.Subject{Kind: rbacv1.ServiceAccountKind,
			Name: "ci"}, secretReader()),
			reason: tooStrong, words: "system:serviceaccount:agents:ci may read", unknown: noCluster},
		"a binding whose name says that all is well": {cluster: binding("x), which is accepted.\nApproved by \x1b[31malice\u202e (all is well",
			rbacv1.Subject{Kind: rbacv1.UserKind, Name: "bot"}, approver()),
			reason: tooStrong, words: `bot may approve requests in namespace agents (RoleBinding "x), which is accepted.\nApproved by ` +
				`\x1b[31malice\u202e (all is well")`, unknown: noCluster},
		"a requester whose name says that all is well": {cluster: change(func(p *v1alpha1.CapabilityPolicySpec) {
			p.Requesters[0].Name = "alice"
		}), request: func(r *v1alpha1.CapabilityRequest) { r.Spec.Requester.Username = "bot ask; approved by alice: let bot" },
			reason: denied, words: `no policy lets "bot ask; approved by alice: let bot" ask for publish`,
			unknown: []string{"can", "mcp ask"}}, // there, bot asks
		"a requester who may approve": {cluster: binding("approvers", rbacv1.Subject{Kind: rbacv1.UserKind,
			Name: "bot"}, approver()),
			reason: tooStrong, words: "does not accept RequesterMayApprove: " +
				"bot may approve requests in namespace agents (RoleBinding approvers)"},
		"a capability that is not ready": {cluster: func(e *env) {
			unready(e, &v1alpha1.Capability{},
				controllertest.Capability)
		},
			reason: v1alpha1.ReasonIndeterminate, words: "capability publish is not Ready: the role is missing",
			unknown: []string{"policy test", "mcp ask"}},
		"a provider that is not ready": {cluster: func(e *env) {
			unready(e, &v1alpha1.CapabilityProvider{}, "aws")
			unready(e, &v1alpha1.Capability{}, controllertest.Capability)
		}, reason: v1alpha1.ReasonIndeterminate, words: "capability publish is not Ready: the role is missing",
			unknown: []string{"policy test", "mcp ask"}},
		"a namespace that is not enrolled": {cluster: inNamespace(func(ns *corev1.Namespace) {
			delete(ns.Labels,
				v1alpha1.LabelEnrolled)
		}),
			reason: v1alpha1.ReasonNamespaceUnsafe, words: "is not enrolled", unknown: noCluster},
		"a namespace without Pod Security": {cluster: inNamespace(func(ns *corev1.Namespace) {
			delete(ns.Labels,
				"pod-security.kubernetes.io/enforce")
		}),
			reason: v1alpha1.ReasonNamespaceUnsafe, words: "needs Pod Security", unknown: noCluster},
		"a ConfigMap that is not there": {job: mounting("script"),
			reason: jobRefused, words: "ConfigMap script", unknown: []string{"can", "mcp ask"}},
		"a name that cannot be": {request: func(r *v1alpha1.CapabilityRequest) { r.Spec.Repo = "web-app*" },
			reason: v1alpha1.ReasonNameRefused,
			words:  `repo "web-app*" is not allowed`, unknown: []string{"mcp ask", "policy test"}},
		"a requester who may do everything": {request: func(r *v1alpha1.CapabilityRequest) {
			r.Spec.Requester.Groups = []string{"system:masters"}
		},
			reason: tooStrong, words: "bot may read, list, watch, patch, delete and deletecollection Secrets in namespace agents (it needs no role)",
			unknown: noCluster},
		"no room within a limit": {cluster: func(e *env) {
			change(func(p *v1alpha1.CapabilityPolicySpec) { p.Limits = &v1alpha1.Limits{Active: ptr.To[int32](1)} })(e)
			e.Ask("first")
			e.Start().Advance(time.Second)
		}, reason: v1alpha1.ReasonLimitReached, words: "policy one lets 1 credential work", unknown: []string{"can",
			"mcp ask", "policy test"}},
		"an approval": {cluster: change(func(p *v1alpha1.CapabilityPolicySpec) {
			p.Approval = &v1alpha1.Approval{Required: 1, TimeoutSeconds: 3600,
				Approvers: []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: "alice"}}}
		}), reason: v1alpha1.ReasonAwaitingApproval, words: "policy one waits for 1 approval", unknown: []string{"can",
			"mcp ask", "policy test"}},
	}
}

func secretReader() rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get", "list",
		"watch", "patch", "delete", "deletecollection"}}
}

func approver() rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{"valetkey.dev"}, Resources: []string{"capabilityrequests"},
		Verbs: []string{"approve"}}
}

func binding(name string, who rbacv1.Subject, rule rbacv1.PolicyRule) func(*controllertest.Env) {
	return func(e *controllertest.Env) {
		here := metav1.ObjectMeta{Namespace: controllertest.Namespace, Name: name}
		e.Store(&rbacv1.Role{ObjectMeta: here, Rules: []rbacv1.PolicyRule{rule}})
		e.Store(&rbacv1.RoleBinding{ObjectMeta: here, Subjects: []rbacv1.Subject{who},
			RoleRef: rbacv1.RoleRef{Kind: "Role", Name: name}})
	}
}

func inNamespace(change func(*corev1.Namespace)) func(*controllertest.Env) {
	return func(e *controllertest.Env) {
		ns := &corev1.Namespace{}
		e.Must(e.Client.Get(e.Context(), client.ObjectKey{Name: controllertest.Namespace}, ns))
		change(ns)
		e.Must(e.Client.Update(e.Context(), ns))
	}
}

func mounting(configMap string) func(*batchv1.Job) {
	return func(j *batchv1.Job) {
		source := corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: configMap}}
		pod := &j.Spec.Template.Spec
		pod.Volumes = append(pod.Volumes, corev1.Volume{Name: "in",
			VolumeSource: corev1.VolumeSource{ConfigMap: &source}})
		pod.Containers[0].VolumeMounts = append(pod.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "in",
			MountPath: "/in"})
	}
}

// unready has the catalogue say that an object cannot be used.
func unready(e *controllertest.Env, object client.Object, name string) {
	e.Must(e.Client.Get(e.Context(), client.ObjectKey{Name: name}, object))
	var conditions []metav1.Condition
	switch o := object.(type) {
	case *v1alpha1.Capability:
		conditions = o.Status.Conditions
	case *v1alpha1.CapabilityProvider:
		conditions = o.Status.Conditions
	}
	conditions[0].Status, conditions[0].Message = metav1.ConditionFalse, "the role is missing"
	e.Must(e.Client.Update(e.Context(), object))
}
