// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/hack/localcluster"
	"github.com/valetkey/valetkey/internal/provider/aws"
	kubernetesprovider "github.com/valetkey/valetkey/internal/provider/kubernetes"
	"github.com/valetkey/valetkey/internal/provider/token"
)

// longestTTL is that of the capability, in seconds: what stands for many grants outlives the run.
const longestTTL = 43200

// catalogue stores one capability of the back end, and two policies for it.
func (e *Env) catalogue(ctx context.Context) error {
	const port = "18443"
	e.address = e.cluster.HostAddress() + ":" + port
	e.issuer = "https://" + e.address
	meta := metav1.ObjectMeta{Name: catalogued}
	e.Provider = &v1alpha1.CapabilityProvider{ObjectMeta: meta}
	e.Capability = &v1alpha1.Capability{ObjectMeta: meta, Spec: v1alpha1.CapabilitySpec{
		Description: "What the benchmark asks for.", ProviderRef: v1alpha1.ProviderReference{Name: catalogued}, MaxTTLSeconds: longestTTL}}
	more, err := e.backend(ctx)
	if err != nil {
		return err
	}
	identity := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: identities, Name: catalogued,
		Annotations: map[string]string{v1alpha1.AnnotationCapability: catalogued}}, AutomountServiceAccountToken: ptr.To(false)}
	return e.store(ctx, append(more, identity, e.Provider, e.Capability, policyFor(Free), policyFor(Approved))...)
}

// backend fills in what the back end wants of provider and capability, and returns what has to be stored beside them.
func (e *Env) backend(ctx context.Context) ([]client.Object, error) {
	switch e.BackendName {
	case "token":
		e.Backend = token.New(token.Options{Issuer: e.issuer, Clock: clock.RealClock{}})
		e.Provider.Spec.Token = &v1alpha1.TokenProvider{Issuer: e.issuer}
		e.Capability.Spec.Token = &v1alpha1.TokenCapability{Audience: "artifact-proxy", Scope: []string{"artifacts:read:${request.repo}"},
			Verification: v1alpha1.VerifyByIntrospection}
		return nil, nil
	case "kubernetes":
		e.Backend = kubernetesprovider.New(kubernetesprovider.Options{Servers: []string{e.Config.Host}, Namespace: identities, OperatorNamespace: system, Roles: e.Admin})
		e.Provider.Spec.Kubernetes = &v1alpha1.KubernetesProvider{Server: e.Config.Host}
		e.Capability.Spec.Kubernetes = &v1alpha1.KubernetesCapability{ServiceAccountName: catalogued}
		meta := metav1.ObjectMeta{Namespace: Namespace, Name: catalogued}
		return []client.Object{
			&rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"list"}}}},
			&rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: catalogued},
				Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: identities, Name: catalogued}}},
		}, nil
	case "aws":
		a := e.cluster.AWS()
		e.Backend = aws.New(aws.Options{Endpoints: []string{a.Endpoint, a.S3Endpoint}, Audiences: []string{"sts.amazonaws.com"}, Clock: clock.RealClock{}})
		role, err := a.EnsureRole(ctx, localcluster.RoleSpec{Name: catalogued, Namespace: identities, ServiceAccount: catalogued})
		e.Provider.Spec.AWS = &v1alpha1.AWSProvider{Region: a.Region, STSEndpoint: a.Endpoint, ServiceEndpoint: a.S3Endpoint}
		e.Capability.Spec.AWS = &v1alpha1.AWSCapability{RoleARN: role, ServiceAccountName: catalogued,
			Scope: []v1alpha1.AWSStatement{{Actions: []string{"s3:PutObject"}, Resources: []string{"arn:aws:s3:::previews/${request.repo}/*"}}}}
		return nil, err
	default:
		return nil, fmt.Errorf("back end %q: want token, kubernetes or aws", e.BackendName)
	}
}

// policyFor allows what the agent asks for in one environment.
func policyFor(environment string) *v1alpha1.CapabilityPolicy {
	p := Policy(environment, Repo, environment)
	p.Spec.When = []v1alpha1.Expression{{Expression: fmt.Sprintf("request.ttlSeconds <= %d", longestTTL), Message: "at most half a day"}}
	if environment == Approved {
		p.Spec.Approval = &v1alpha1.Approval{Required: 1, TimeoutSeconds: 3600, Approvers: []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: "release-managers"}}}
	}
	return p
}

// Policy allows the agent the capability for one repository and environment.
func Policy(name, repo, environment string) *v1alpha1.CapabilityPolicy {
	return &v1alpha1.CapabilityPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.CapabilityPolicySpec{
		Effect: v1alpha1.EffectAllow, Capabilities: []string{catalogued}, Repos: []string{repo}, Environments: []string{environment},
		Requesters: []v1alpha1.Subject{{Kind: v1alpha1.SubjectServiceAccount, Namespace: Namespace, Name: Agent}},
		When:       []v1alpha1.Expression{{Expression: "request.ttlSeconds <= 900", Message: "at most fifteen minutes"}},
	}}
}

// AwaitPolicies has policies stored, and returns when the operator has said of each that it is ready.
func (e *Env) AwaitPolicies(ctx context.Context, names []string, store func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	watching, err := client.NewWithWatch(e.Config, client.Options{Scheme: e.scheme})
	if err != nil {
		return err
	}
	list := &v1alpha1.CapabilityPolicyList{}
	if err := watching.List(ctx, list); err != nil {
		return err
	}
	events, err := watching.Watch(ctx, list, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.ResourceVersion}})
	if err != nil {
		return err
	}
	defer events.Stop()
	missing := map[string]bool{}
	for _, name := range names {
		missing[name] = true
	}
	if err := store(ctx); err != nil {
		return err
	}
	for event := range events.ResultChan() {
		if p, is := event.Object.(*v1alpha1.CapabilityPolicy); is && meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionReady) {
			delete(missing, p.Name)
		}
		if len(missing) == 0 {
			return nil
		}
	}
	return fmt.Errorf("%d policies are not ready: %w", len(missing), ctx.Err())
}
