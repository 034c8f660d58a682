// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package kubernetes_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clients "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/kubernetes"
)

const label = "kubernetes.io/bootstrapping"

// holder is an account of the identities' namespace, with a token of its own for the real API server.
type holder struct {
	*realWorld
	name   string
	config *rest.Config
}

// api is an ordinary client with the account's token.
func (i *holder) api() *clients.Clientset { return clients.NewForConfigOrDie(i.config) }

// as acts in somebody else's name.
func (i *holder) as(user string) *clients.Clientset {
	config := rest.CopyConfig(i.config)
	config.Impersonate.UserName = user
	return clients.NewForConfigOrDie(config)
}

func (w *realWorld) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// holder makes the account, and binds the rules to it: in web, or everywhere.
func (w *realWorld) holder(t *testing.T, name string, everywhere bool, labels map[string]string,
	rules ...rbacv1.PolicyRule) *holder {
	t.Helper()
	ctx, o, meta := t.Context(), metav1.CreateOptions{}, metav1.ObjectMeta{Name: name, Labels: labels}
	w.account(t, name)
	_, err := w.admin.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}, o)
	w.must(t, err)
	w.bind(t, name, name, everywhere, labels)
	token, err := w.admin.CoreV1().ServiceAccounts(identities).CreateToken(ctx, name, &authenticationv1.TokenRequest{}, o)
	w.must(t, err)
	config := rest.AnonymousClientConfig(w.api)
	config.BearerToken = token.Status.Token
	return &holder{realWorld: w, name: name, config: config}
}

func (w *realWorld) account(t *testing.T, name string) {
	t.Helper()
	meta := metav1.ObjectMeta{Name: name, Annotations: map[string]string{v1alpha1.AnnotationCapability: "read"}}
	_, err := w.admin.CoreV1().ServiceAccounts(identities).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: meta},
		metav1.CreateOptions{})
	w.must(t, err)
}

func (w *realWorld) bind(t *testing.T, account, role string, everywhere bool, labels map[string]string) {
	t.Helper()
	meta, o := metav1.ObjectMeta{Name: account, Labels: labels}, metav1.CreateOptions{}
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}
	subjects := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: identities, Name: account}}
	var err error
	if everywhere {
		_, err = w.admin.RbacV1().ClusterRoleBindings().Create(t.Context(),
			&rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects}, o)
	} else {
		_, err = w.admin.RbacV1().RoleBindings("web").Create(t.Context(),
			&rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects}, o)
	}
	w.must(t, err)
}

// ready says what is wrong with a capability whose identity is the account.
func (w *realWorld) ready(t *testing.T, account string, accept ...v1alpha1.KubernetesAcceptance) error {
	t.Helper()
	lease := w.lease()
	lease.Capability.Spec.Kubernetes.ServiceAccountName, lease.Capability.Spec.Kubernetes.Accept = account, accept
	return w.CheckCapability(t.Context(), lease.Capability, lease.Provider)
}

// thief has rights that lead to more than they name, and uses them, on a real API server, for what they are refused
// for.
type thief struct {
	name       string
	everywhere bool
	labels     map[string]string
	rules      []rbacv1.PolicyRule
	// words of the refusal.
	words string
	// steal does what the right leads to.
	steal func(context.Context, *holder) error
}

func may(verbs, group, resources string, names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: strings.Split(verbs, ","), APIGroups: []string{group},
		Resources: strings.Split(resources, ","), ResourceNames: names}
}

func podSpec() corev1.PodSpec {
	return corev1.PodSpec{ServiceAccountName: "powerful",
		Containers: []corev1.Container{{Name: "main", Image: "example.com/evil"}},
		Volumes: []corev1.Volume{{Name: "stolen",
			VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "password"}}}}}
}

// password reports whether a Secret came back whole.
func password(list *corev1.SecretList, err error) error {
	if err == nil && (len(list.Items) == 0 || len(list.Items[0].Data["password"]) == 0) {
		return errors.New("no password was in it")
	}
	return err
}

// reached: what answered was not the authorizer. There is no kubelet in these tests.
func reached(err error) error {
	if err == nil || apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		return fmt.Errorf("the authorizer refused it, or nothing was asked: %w", err)
	}
	return nil
}

func thieves() []thief {
	const web = "web"
	o, template := metav1.CreateOptions{}, corev1.PodTemplateSpec{Spec: podSpec()}
	return []thief{
		{"an identity that may impersonate, constrained", true, nil,
			[]rbacv1.PolicyRule{may("impersonate:user-info", "authentication.k8s.io", "users", "mallory"),
				may("impersonate-on:user-info:list", "", "secrets")},
			"impersonate:user-info users.authentication.k8s.io mallory everywhere", func(ctx context.Context, i *holder) error {
				return password(i.as("mallory").CoreV1().Secrets(web).List(ctx, metav1.ListOptions{}))
			}},
		{"an identity that may impersonate", true, nil, []rbacv1.PolicyRule{may("impersonate", "", "users")},
			"whoever may impersonate acts with the rights of somebody else", func(ctx context.Context, i *holder) error {
				return password(i.as("mallory").CoreV1().Secrets(web).List(ctx, metav1.ListOptions{}))
			}},
		{"an identity that may create Pods", false, nil, []rbacv1.PolicyRule{may("create", "", "pods")},
			"whoever may create Pods can run as every ServiceAccount", func(ctx context.Context, i *holder) error {
				_, err := i.api().CoreV1().Pods(web).Create(ctx,
					&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "stolen"}, Spec: podSpec()}, o)
				return err
			}},
		{"an identity that may create Jobs", false, nil, []rbacv1.PolicyRule{may("create", "batch", "jobs")},
			"create jobs.batch in web", func(ctx context.Context, i *holder) error {
				job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "stolen"}, Spec: batchv1.JobSpec{Template: template}}
				job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
				_, err := i.api().BatchV1().Jobs(web).Create(ctx, job, o)
				return err
			}},
		{"an identity that may patch one Deployment", false, nil,
			[]rbacv1.PolicyRule{may("patch", "apps", "deployments", "shop")},
			"patch deployments.apps shop in web", func(ctx context.Context, i *holder) error {
				patch := []byte(`{"spec":{"template":{"spec":{"serviceAccountName":"powerful"}}}}`)
				_, err := i.api().AppsV1().Deployments(web).Patch(ctx, "shop", types.StrategicMergePatchType, patch,
					metav1.PatchOptions{})
				return err
			}},
		{"an identity that may debug Pods", false, nil, []rbacv1.PolicyRule{may("patch", "", "pods/ephemeralcontainers")},
			"it runs commands in Pods", func(ctx context.Context, i *holder) error {
				patch := []byte(`{"spec":{"ephemeralContainers":[{"name":"stolen","image":"example.com/evil"}]}}`)
				_, err := i.api().CoreV1().Pods(web).Patch(ctx, "victim", types.StrategicMergePatchType, patch,
					metav1.PatchOptions{}, "ephemeralcontainers")
				return err
			}},
		{"an identity that may exec", false, nil, []rbacv1.PolicyRule{may("create", "", "pods/exec")},
			"it runs commands in Pods", func(ctx context.Context, i *holder) error {
				exec := i.api().CoreV1().RESTClient().Post().Namespace(web).Resource("pods").Name("victim").SubResource("exec")
				return reached(exec.Param("command", "id").Do(ctx).Error())
			}},
		{"an identity that may reach kubelets", true, nil, []rbacv1.PolicyRule{may("get", "", "nodes/proxy")},
			"get is enough", func(ctx context.Context, i *holder) error {
				proxy := i.api().CoreV1().RESTClient().Get().Resource("nodes").Name("node").SubResource("proxy")
				return reached(proxy.Suffix("pods").Do(ctx).Error())
			}},
		{"an identity that may read Secrets", false, nil, []rbacv1.PolicyRule{may("list", "", "secrets")},
			"Secrets hold credentials", func(ctx context.Context, i *holder) error {
				return password(i.api().CoreV1().Secrets(web).List(ctx, metav1.ListOptions{}))
			}},
		{"an identity that reads Secrets by deleting them", false, nil,
			[]rbacv1.PolicyRule{may("deletecollection", "", "secrets")},
			"a deletion answers with the Secret", func(ctx context.Context, i *holder) error {
				list := &corev1.SecretList{}
				options := &metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}
				err := i.api().CoreV1().RESTClient().Delete().Namespace(web).Resource("secrets").Body(options).Do(ctx).Into(list)
				return password(list, err)
			}},
		{"an identity that writes a Secret for a lasting token", false, nil,
			[]rbacv1.PolicyRule{may("create", "", "secrets")},
			"a lasting token of any ServiceAccount", func(ctx context.Context, i *holder) error {
				meta := metav1.ObjectMeta{Name: "stolen", Annotations: map[string]string{corev1.ServiceAccountNameKey: "powerful"}}
				_, err := i.api().CoreV1().Secrets(web).Create(ctx,
					&corev1.Secret{ObjectMeta: meta, Type: corev1.SecretTypeServiceAccountToken}, o)
				return err
			}},
		{"an identity that makes tokens", false, nil,
			[]rbacv1.PolicyRule{may("create", "", "serviceaccounts/token", "powerful")},
			"it makes tokens of every ServiceAccount", func(ctx context.Context, i *holder) error {
				_, err := i.api().CoreV1().ServiceAccounts(web).CreateToken(ctx, "powerful", &authenticationv1.TokenRequest{}, o)
				return err
			}},
		{"an identity that binds roles to itself", true, nil,
			[]rbacv1.PolicyRule{may("bind", rbacv1.GroupName, "clusterroles"),
				may("create", rbacv1.GroupName, "clusterrolebindings")},
			"bind clusterroles.rbac.authorization.k8s.io everywhere", func(ctx context.Context, i *holder) error {
				_, err := i.api().RbacV1().ClusterRoleBindings().Create(ctx,
					&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "stolen"},
						RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"}}, o)
				return err
			}},
		{"an identity that widens its role", true, nil,
			[]rbacv1.PolicyRule{may("escalate,patch", rbacv1.GroupName, "clusterroles")},
			"writes rights into a role", func(ctx context.Context, i *holder) error {
				patch := []byte(`{"rules":[{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}]}`)
				_, err := i.api().RbacV1().ClusterRoles().Patch(ctx, i.name, types.MergePatchType, patch, metav1.PatchOptions{})
				return err
			}},
		{"an identity that takes admission rules out of force", true, nil,
			[]rbacv1.PolicyRule{may("delete", "admissionregistration.k8s.io", "validatingadmissionpolicybindings")},
			"Valetkey's own rules included", func(ctx context.Context, i *holder) error {
				return i.api().AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Delete(ctx, "rule",
					metav1.DeleteOptions{})
			}},
		{"an identity that writes webhooks", true, nil,
			[]rbacv1.PolicyRule{may("create", "admissionregistration.k8s.io", "mutatingwebhookconfigurations")},
			"a webhook sees what is stored", func(ctx context.Context, i *holder) error {
				_, err := i.api().AdmissionregistrationV1().MutatingWebhookConfigurations().Create(ctx,
					&admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "stolen"}}, o)
				return err
			}},
		{"an identity that relabels its namespace", false, nil, []rbacv1.PolicyRule{may("patch", "", "namespaces")},
			"labels of a namespace say what Pods may do", func(ctx context.Context, i *holder) error {
				patch := []byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged"}}}`)
				_, err := i.api().CoreV1().Namespaces().Patch(ctx, web, types.MergePatchType, patch, metav1.PatchOptions{})
				return err
			}},
		{"an identity that writes what Pods are configured by", false, nil,
			[]rbacv1.PolicyRule{may("patch", "", "configmaps", "kube-root-ca.crt")},
			"do what a ConfigMap says", func(ctx context.Context, i *holder) error {
				_, err := i.api().CoreV1().ConfigMaps(web).Patch(ctx, "kube-root-ca.crt", types.MergePatchType,
					[]byte(`{"data":{"ca.crt":"evil"}}`), metav1.PatchOptions{})
				return err
			}},
		{"cluster-admin behind the label of what the cluster made", true, map[string]string{label: "rbac-defaults"},
			[]rbacv1.PolicyRule{may("*", "*", "*")},
			"* *.* everywhere", func(ctx context.Context, i *holder) error {
				return password(i.api().CoreV1().Secrets(web).List(ctx, metav1.ListOptions{}))
			}},
	}
}

// TestRights_AreWorthWhatTheyAreRefusedFor shows of each right both that it leads to more, and that no capability has
// it unawares.
func TestRights_AreWorthWhatTheyAreRefusedFor(t *testing.T) {
	w := newRealWorld(t)
	w.victims(t)
	for n, thief := range thieves() {
		t.Run(thief.name, func(t *testing.T) {
			i := w.holder(t, fmt.Sprintf("thief-%d", n), thief.everywhere, thief.labels, thief.rules...)
			err := w.ready(t, i.name)
			problem := (*provider.NotReadyError)(nil)
			if !errors.As(err, &problem) || problem.Reason != v1alpha1.ReasonScopeInvalid ||
				!strings.Contains(problem.Message, thief.words) {
				t.Errorf("it is ready, or not for that: %v", err)
			}
			if err := thief.steal(t.Context(), i); err != nil {
				t.Errorf("it leads to nothing: %v", err)
			}
		})
	}
}

// victims are what is worth stealing in web: a password, a powerful account, a Pod, a Deployment, an admission rule;
// and mallory, who may read Secrets there.
func (w *realWorld) victims(t *testing.T) {
	t.Helper()
	ctx, o := t.Context(), metav1.CreateOptions{}
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}}
	}
	must := func(_ any, err error) {
		t.Helper()
		w.must(t, err)
	}
	must(w.admin.CoreV1().Secrets("web").Create(ctx,
		&corev1.Secret{ObjectMeta: meta("password"), Data: map[string][]byte{"password": []byte("example")}}, o))
	must(w.admin.CoreV1().ServiceAccounts("web").Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta("powerful")}, o))
	must(w.admin.CoreV1().Pods("web").Create(ctx, &corev1.Pod{ObjectMeta: meta("victim"), Spec: podSpec()}, o))
	must(w.admin.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: meta("node")}, o))
	must(w.admin.AppsV1().Deployments("web").Create(ctx,
		&appsv1.Deployment{ObjectMeta: meta("shop"), Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: meta("shop").Labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: meta("shop"),
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/shop"}}}}}}, o))
	must(w.admin.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Create(ctx,
		&admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: meta("rule"),
			Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: "rule",
				ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny}}}, o))
	must(w.admin.RbacV1().RoleBindings("web").Create(ctx, &rbacv1.RoleBinding{ObjectMeta: meta("mallory"),
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "admin"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "mallory"}}}, o))
}

// TestRights_TheClustersOwnRolesAreJudgedAsTheyAreMeant looks at the roles that a new cluster has.
func TestRights_TheClustersOwnRolesAreJudgedAsTheyAreMeant(t *testing.T) {
	w := newRealWorld(t)
	for role, words := range map[string]string{
		"view":          "narrow it, or accept OpenConnections",
		"edit":          "accept Escalation, Disruption, OpenConnections",
		"admin":         "accept Escalation, Disruption, OpenConnections",
		"cluster-admin": "accept Escalation, Wildcards, Disruption, OpenConnections",
	} {
		account := "has-" + role
		w.account(t, account)
		w.bind(t, account, role, false, nil)
		err := w.ready(t, account)
		if err == nil || !strings.HasSuffix(err.Error(), words) {
			t.Errorf("%s: %v", role, err)
		}
	}
	if err := w.ready(t, "has-view", v1alpha1.AcceptOpenConnections); err != nil {
		t.Errorf("view, with what its watches lead to accepted: %v", err)
	}
	if err := w.ready(t, "bare"); err == nil || !strings.Contains(err.Error(), "no role is bound") {
		t.Errorf("what a new cluster gives everybody is taken for a scope: %v", err)
	}
}

// TestTable_KnowsAllThatTheAPIServerServes fails when a newer Kubernetes has kinds that nobody has judged.
func TestTable_KnowsAllThatTheAPIServerServes(t *testing.T) {
	w := newRealWorld(t)
	_, lists, err := w.admin.Discovery().ServerGroupsAndResources()
	w.must(t, err)
	kinds := 0
	for _, list := range lists {
		group, _, found := strings.Cut(list.GroupVersion, "/")
		if !found {
			group = ""
		}
		for _, resource := range list.APIResources {
			kinds++
			for _, verb := range resource.Verbs {
				if !kubernetes.Known(verb, group, resource.Name) {
					t.Errorf("%s %s of %s", verb, resource.Name, list.GroupVersion)
				}
			}
		}
	}
	const few = 100
	if kinds < few {
		t.Errorf("only %d kinds were found: this test does not see what it should", kinds)
	}
}
