// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package aws_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/hack/localcluster"
	"github.com/valetkey/valetkey/hack/localcluster/clustertest"
	"github.com/valetkey/valetkey/internal/identity"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/aws"
	"github.com/valetkey/valetkey/internal/provider/conformance"
)

const identitiesNamespace = "valetkey-identities"

// realWorld is the back end with a real API server, a real STS that trusts it, and a real S3.
type realWorld struct {
	*aws.Provider
	aws      *localcluster.AWS
	roleARN  string
	accounts *kubernetes.Clientset
	// gate stands before the STS, at the URL sts.
	gate *conformance.Gate
	sts  string
}

func newRealWorld(t *testing.T) realWorld {
	t.Helper()
	cluster := clustertest.Start(t, localcluster.Options{AWS: true, Fast: true})
	clients, err := kubernetes.NewForConfig(cluster.AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	w := realWorld{aws: cluster.AWS(), accounts: clients}
	w.addIdentities(t, "publisher", "other")
	w.roleARN, err = w.aws.EnsureRole(t.Context(), localcluster.RoleSpec{Name: "publisher", Namespace: identitiesNamespace, ServiceAccount: "publisher"})
	if err != nil {
		t.Fatal(err)
	}
	for _, bucket := range []string{"previews", "production"} {
		if err := w.aws.EnsureBucket(t.Context(), bucket); err != nil {
			t.Fatal(err)
		}
	}
	w.gate, w.sts = conformance.Proxy(t, w.aws.Endpoint, &http.Transport{})
	w.Provider = w.another()
	return w
}

// another is the back end in another process.
func (w realWorld) another() *aws.Provider {
	return aws.New(aws.Options{
		Endpoints: []string{w.sts, w.aws.S3Endpoint}, Audiences: []string{audience},
		Identities: identity.NewSource(w.accounts, identitiesNamespace), Clock: clock.RealClock{},
	})
}

// addIdentities makes ServiceAccounts that all are of the capability publish; the role trusts the first alone.
func (w realWorld) addIdentities(t *testing.T, names ...string) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: identitiesNamespace}}
	if _, err := w.accounts.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{v1alpha1.AnnotationCapability: "publish"}}}
		if _, err := w.accounts.CoreV1().ServiceAccounts(identitiesNamespace).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func (w realWorld) lease() provider.Lease {
	l := provider.Lease{
		ID: "9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731", Attempt: 1, TTL: time.Hour, Values: values(), Capability: capability(),
		Provider: &v1alpha1.CapabilityProvider{Spec: v1alpha1.CapabilityProviderSpec{AWS: &v1alpha1.AWSProvider{
			Region: w.aws.Region, STSEndpoint: w.sts, ServiceEndpoint: w.aws.S3Endpoint, Audience: audience,
		}}},
	}
	l.Capability.Spec.AWS.RoleARN = w.roleARN
	return l
}

// container is an ordinary S3 client in a process that was given what the projection gives a container, and nothing else.
func container(t *testing.T, c *provider.Credential) *s3.Client {
	t.Helper()
	for _, entry := range os.Environ() {
		if name, value, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, value) // puts it back afterwards
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	mount := t.TempDir()
	for path, content := range c.Files() {
		file := filepath.Join(mount, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range c.Pointers() {
		t.Setenv(name, strings.Replace(value, v1alpha1.MountPath, mount, 1))
	}
	for name, value := range c.Variables() {
		t.Setenv(name, value)
	}
	// No proxy of the machine that runs the test leads to the cluster.
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithHTTPClient(&http.Client{Transport: &http.Transport{}}))
	if err != nil {
		t.Fatal(err)
	}
	return s3.NewFromConfig(cfg)
}

func put(ctx context.Context, client *s3.Client, bucket, key string) error {
	_, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader("hello")})
	return err
}

func get(ctx context.Context, client *s3.Client, bucket, key string) error {
	out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return err
	}
	return out.Body.Close()
}

// secretsOf are what a credential's holder could use.
func secretsOf(c *provider.Credential) []string {
	var found []string
	for _, line := range strings.Split(c.Files()["aws/credentials"], "\n") {
		if name, value, ok := strings.Cut(line, " = "); ok && name != "aws_access_key_id" {
			found = append(found, value)
		}
	}
	return found
}

// remembering keeps what was issued, for the suite to look for.
type remembering struct {
	provider.Provider
	mu   sync.Mutex
	seen []string
}

func (r *remembering) Issue(ctx context.Context, l provider.Lease) (*provider.Credential, error) {
	c, err := r.Provider.Issue(ctx, l)
	if c != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.seen = append(r.seen, secretsOf(c)...)
	}
	return c, err
}

func (r *remembering) secrets() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen)
}

func TestARealSTSDoesWhatEveryBackEndDoes(t *testing.T) {
	w := newRealWorld(t)
	conformance.Run(t, "aws, real STS", func(*testing.T) conformance.Harness { return w.harness(w.lease()) })
}

func (w realWorld) harness(l provider.Lease) conformance.Harness {
	remembered := &remembering{Provider: w}
	return conformance.Harness{
		Provider: remembered, Lease: l, Clock: clock.RealClock{},
		Unscope: func(c *v1alpha1.Capability) { c.Spec.AWS.Scope = nil },
		Works: func(t *testing.T, c *provider.Credential) bool {
			return put(t.Context(), container(t, c), "previews", "web-app/index.html") == nil
		},
		Beyond: func(t *testing.T, c *provider.Credential) bool {
			return put(t.Context(), container(t, c), "previews", "payments/index.html") == nil || get(t.Context(), container(t, c), "previews", "web-app/index.html") == nil
		},
		Throttle: func(*testing.T) { w.gate.AnswerNext(refuse(http.StatusBadRequest, "Throttling")) },
		Break:    w.gate.Break,
		Restart:  func(*testing.T) provider.Provider { return w.another() },
		Secrets:  remembered.secrets,
	}
}

func TestARealSTSHoldsAClientToItsScope(t *testing.T) {
	w := newRealWorld(t)
	for _, delivery := range []v1alpha1.CredentialDelivery{v1alpha1.DeliveryFiles, v1alpha1.DeliveryEnv} {
		t.Run("an ordinary client is held to its scope, delivered as "+string(delivery), func(t *testing.T) { expectHeldToScope(t, w, delivery) })
	}
	t.Run("what the STS refuses is final and tells no secret", func(t *testing.T) { expectRefusals(t, w) })
}

// revocable is a lease whose capability has a revoker role, which may change the inline policies of its role and do nothing else.
func (w realWorld) revocable(t *testing.T) provider.Lease {
	t.Helper()
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:ListRolePolicies","iam:GetRolePolicy","iam:PutRolePolicy","iam:DeleteRolePolicy"],"Resource":"` + w.roleARN + `"}]}`
	revoker, err := w.aws.EnsureRole(t.Context(), localcluster.RoleSpec{Name: "revoker", Namespace: identitiesNamespace, ServiceAccount: "publisher", Policy: policy})
	if err != nil {
		t.Fatal(err)
	}
	l := w.lease()
	l.Capability.Spec.AWS.RevokerRoleARN, l.Provider.Spec.AWS.IAMEndpoint = revoker, w.sts
	return l
}

// denials are the names of the role's inline policies that are ours, and their length together.
func (w realWorld) denials(t *testing.T) []string {
	t.Helper()
	role := "publisher"
	answer, err := w.aws.IAM().ListRolePolicies(t.Context(), &iam.ListRolePoliciesInput{RoleName: &role})
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(answer.PolicyNames, func(name string) bool { return !strings.HasPrefix(name, "valetkey-") })
}

// forget takes every denial from the role.
func (w realWorld) forget(t *testing.T) {
	t.Helper()
	role := "publisher"
	for _, name := range w.denials(t) {
		if _, err := w.aws.IAM().DeleteRolePolicy(t.Context(), &iam.DeleteRolePolicyInput{RoleName: &role, PolicyName: &name}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestASessionThatCanBeDeniedDoesWhatEveryBackEndDoes(t *testing.T) {
	w := newRealWorld(t)
	conformance.Run(t, "aws with a revoker, real STS and IAM", func(t *testing.T) conformance.Harness {
		w.forget(t)
		return w.harness(w.revocable(t))
	})
}

// TestOneSessionIsEndedAlone sees that the others of its role go on, that a denial goes when its session has expired, and that what
// does not fit the role any more is said to work until it expires.
func TestOneSessionIsEndedAlone(t *testing.T) {
	w := newRealWorld(t)
	revocable := w.revocable(t)
	lease := func(n int) provider.Lease {
		l := revocable
		l.ID = fmt.Sprintf("00000000-0000-4000-8000-%012d", n)
		return l
	}
	end := func(n int) provider.Revoked {
		l := lease(n)
		revoked, err := w.Revoke(t.Context(), l.Issued(w.Handle(l), time.Now().Add(time.Hour)))
		if err != nil {
			t.Error(err)
		}
		return revoked
	}
	works := func(c *provider.Credential) bool {
		return put(t.Context(), container(t, c), "previews", "web-app/index.html") == nil
	}
	var issued []*provider.Credential
	for n := range 2 {
		c, err := w.Issue(t.Context(), lease(n))
		if err != nil {
			t.Fatal(err)
		}
		issued = append(issued, c)
	}
	if got := end(0); got.Mode != v1alpha1.RevocationImmediate || got.Lingers == 0 {
		t.Errorf("got %+v", got)
	}
	if works(issued[0]) || !works(issued[1]) {
		t.Errorf("the first works %t, the second %t; want the second alone", works(issued[0]), works(issued[1]))
	}

	role, document := "publisher", `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"s3:*","Resource":"arn:aws:s3:::nothing"}]}`
	for _, name := range []string{fmt.Sprintf("valetkey-%d-%s", time.Now().Add(-time.Second).Unix(), lease(7).ID), "valetkey-of-somebody-else"} {
		if _, err := w.aws.IAM().PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &role, PolicyName: &name, PolicyDocument: &document}); err != nil {
			t.Fatal(err)
		}
	}
	end(0)
	if names := w.denials(t); len(names) != 2 || !slices.Contains(names, "valetkey-of-somebody-else") || !strings.Contains(strings.Join(names, " "), lease(0).ID) {
		t.Errorf("the role has %v; want the living denial and what is somebody else's", names)
	}

	modes := map[v1alpha1.RevocationMode]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for n := range 80 {
		wg.Go(func() {
			mode := end(n + 2).Mode
			mu.Lock()
			defer mu.Unlock()
			modes[mode]++
		})
	}
	wg.Wait()
	if modes[v1alpha1.RevocationImmediate] < 40 || modes[v1alpha1.RevocationAtExpiry] < 1 {
		t.Errorf("80 that end at once: %v; want those that fit IAM's 10,240 characters denied, and the others said to work on", modes)
	}
	fmt.Printf("80 sessions of one role that end at once: %v\n", modes)
	if !works(issued[1]) {
		t.Error("another session of the role works no more")
	}
}

func TestARevokerThatMayNotRevokesNothingAndSaysSo(t *testing.T) {
	w := newRealWorld(t)
	l := w.revocable(t)
	c, err := w.Issue(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.aws.EnsureRole(t.Context(), localcluster.RoleSpec{Name: "revoker", Namespace: identitiesNamespace, ServiceAccount: "publisher"}); err != nil {
		t.Fatal(err)
	}
	issued := l.Issued(w.Handle(l), time.Now().Add(time.Hour))
	if _, err := w.Revoke(t.Context(), issued); err == nil || !strings.Contains(err.Error(), "IAM refused iam:PutRolePolicy to the revoker role: status 403") {
		t.Errorf("got %v", err)
	}
	issued.Until = time.Now().Add(-time.Second)
	if got, err := w.Revoke(t.Context(), issued); err != nil || got.Mode != v1alpha1.RevocationAtExpiry {
		t.Errorf("once it has expired: %+v, %v", got, err)
	}
	if put(t.Context(), container(t, c), "previews", "web-app/index.html") != nil {
		t.Error("the session does not work, and nobody revoked it")
	}
}

func expectHeldToScope(t *testing.T, w realWorld, delivery v1alpha1.CredentialDelivery) {
	l := w.lease()
	l.Capability.Spec.AWS.Delivery = delivery
	c, err := w.Issue(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	if want := "assumed-role/publisher/" + l.Session(); !strings.HasSuffix(c.Principal(), want) {
		t.Errorf("principal %s, want it to end with %s", c.Principal(), want)
	}
	client := container(t, c)
	if err := put(t.Context(), client, "previews", "web-app/index.html"); err != nil {
		t.Errorf("inside the prefix: %v", err)
	}
	for what, err := range map[string]error{
		"another repo's prefix":         put(t.Context(), client, "previews", "other/index.html"),
		"a prefix that begins alike":    put(t.Context(), client, "previews", "web-app-2/index.html"),
		"another bucket":                put(t.Context(), client, "production", "web-app/index.html"),
		"reading back what was written": get(t.Context(), client, "previews", "web-app/index.html"),
	} {
		var refusal smithy.APIError
		if !errors.As(err, &refusal) || refusal.ErrorCode() != "AccessDenied" {
			t.Errorf("%s: got %v, want AccessDenied", what, err)
		}
	}
}

func expectRefusals(t *testing.T, w realWorld) {
	tests := map[string]struct {
		spoil func(*provider.Lease)
		final bool
	}{
		"a role that does not exist": {func(l *provider.Lease) {
			l.Capability.Spec.AWS.RoleARN = strings.Replace(w.roleARN, "publisher", "nobody", 1)
		}, true},
		// Versitygw says of another subject what AWS says of a bad signature.
		"an account that the role does not trust": {func(l *provider.Lease) { l.Capability.Spec.AWS.ServiceAccountName = "other" }, false},
		"a session longer than the role's":        {func(l *provider.Lease) { l.TTL = 12 * time.Hour }, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			l := w.lease()
			test.spoil(&l)
			c, err := w.Issue(t.Context(), l)
			if c != nil || provider.IsFinal(err) != test.final || !provider.IsRefused(err) {
				t.Errorf("got credential %t, error %v; want final: %t", c != nil, err, test.final)
			}
			if err != nil && (strings.Contains(err.Error(), "eyJ") || len(err.Error()) > 512) {
				t.Error("the error tells a token, or more than a condition holds")
			}
		})
	}
}
