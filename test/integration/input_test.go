// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/hack/localcluster"
)

func TestAnUnknownCapabilityIsRefused(t *testing.T) {
	j := begin(t, "unknown-capability")
	j.allow()
	j.request(func(r *v1alpha1.CapabilityRequest) { r.Spec.Capability = "publish-preview" })
	j.job()
	j.expectRefused(v1alpha1.ReasonDeniedByPolicy, `there is no capability "publish-preview"`)
}

func TestARequestThatNoPolicyAllowsIsToldWhatWouldBe(t *testing.T) {
	j := begin(t, "no-policy")
	j.ask()
	j.expectRefused(v1alpha1.ReasonDeniedByPolicy, "policy preview-builds allows environments preview")
}

func TestARequestForLongerThanThePolicyAllowsIsRefused(t *testing.T) {
	j := begin(t, "too-long")
	j.allow(func(p *v1alpha1.CapabilityPolicySpec) { p.MaxTTLSeconds = ptr.To[int32](600) })
	j.ask()
	j.expectRefused(v1alpha1.ReasonDeniedByPolicy, "policy too-long allows ttlSeconds up to 600")
}

func TestAPolicyWhoseExpressionDoesNotCompileAllowsNothingAndSaysSo(t *testing.T) {
	j := begin(t, "no-cel")
	p := &v1alpha1.CapabilityPolicy{ObjectMeta: metav1.ObjectMeta{Name: j.name}, Spec: v1alpha1.CapabilityPolicySpec{
		Effect: v1alpha1.EffectAllow, Capabilities: []string{"*"}, Repos: []string{"*"}, Environments: []string{j.name},
		Requesters: []v1alpha1.Subject{{Kind: v1alpha1.SubjectServiceAccount, Namespace: agents, Name: "web-app-bot"}},
		When:       []v1alpha1.Expression{{Expression: "request.ttl < 900", Message: "at most fifteen minutes"}},
	}}
	j.store(p)
	p = await(t, j.w, p, "looked at", func(p *v1alpha1.CapabilityPolicy) bool { return len(p.Status.Conditions) > 0 })
	c := condition(p.Status.Conditions, v1alpha1.ConditionReady)
	if c.Status != metav1.ConditionFalse || c.Reason != v1alpha1.ReasonExpressionInvalid || !strings.Contains(c.Message, "when[0]: the expression does not compile: 1:8: undefined field 'ttl'") {
		t.Errorf("the policy is %s=%s: %s", c.Reason, c.Status, c.Message)
	}
	j.ask()
	j.expectRefused(v1alpha1.ReasonDeniedByPolicy, "policy no-cel is not valid, so it allows nothing: when[0]: the expression does not compile")
}

func TestAPolicyWhoseExpressionCostsTooMuchAllowsNothingAndSaysSo(t *testing.T) {
	j := begin(t, "costly-cel")
	all := "job.images.all(a, job.images.all(b, job.images.all(c, job.images.all(d, a + b == c + d))))"
	p := &v1alpha1.CapabilityPolicy{ObjectMeta: metav1.ObjectMeta{Name: j.name}, Spec: v1alpha1.CapabilityPolicySpec{
		Effect: v1alpha1.EffectAllow, Capabilities: []string{"*"}, Repos: []string{"*"}, Environments: []string{j.name},
		Requesters: []v1alpha1.Subject{{Kind: v1alpha1.SubjectServiceAccount, Namespace: agents, Name: "web-app-bot"}},
		When:       []v1alpha1.Expression{{Expression: all, Message: "whatever"}},
	}}
	j.store(p)
	p = await(t, j.w, p, "looked at", func(p *v1alpha1.CapabilityPolicy) bool { return len(p.Status.Conditions) > 0 })
	if c := condition(p.Status.Conditions, v1alpha1.ConditionReady); c.Reason != v1alpha1.ReasonExpressionInvalid || !strings.Contains(c.Message, "could cost") {
		t.Errorf("the policy is %s=%s: %s", c.Reason, c.Status, c.Message)
	}
	j.ask()
	j.expectRefused(v1alpha1.ReasonDeniedByPolicy, "policy costly-cel is not valid, so it allows nothing: when[0]: the expression could cost")
}

func TestARequestWaitsForAJobThatAppearsLate(t *testing.T) {
	j := begin(t, "late-job")
	j.allow()
	j.request()
	words := condition(j.awaitDecision(v1alpha1.ReasonAwaitingJob).Status.Conditions, v1alpha1.ConditionAllowed).Message
	if want := "create the Job valetkey-late-job in this namespace, labelled valetkey.dev/request=late-job"; words != want {
		t.Errorf("it says %q; want %q", words, want)
	}
	j.job()
	j.awaitDelivered()
}

func TestAJobThatSomebodyElseCreatedIsRefused(t *testing.T) {
	j := begin(t, "foreign-job")
	j.allow()
	j.must(j.w.admin.Create(t.Context(), j.sampleJob()))
	j.request()
	j.expectRefused(v1alpha1.ReasonJobRefused, "the Job was created by admin, the request by system:serviceaccount:agents:web-app-bot")
}

// TestARequesterWhoCouldReadTheCredentialIsRefused: not the requester itself, but an account that it could run a Pod as.
func TestARequesterWhoCouldReadTheCredentialIsRefused(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		rule  rbacv1.PolicyRule
		words string
	}{
		"secret-lister":   {rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"list"}}, "system:serviceaccount:secret-lister:runner may list Secrets in namespace secret-lister"},
		"secret-approver": {rbacv1.PolicyRule{APIGroups: []string{"valetkey.dev"}, Resources: []string{"capabilityrequests"}, Verbs: []string{"approve"}}, "system:serviceaccount:secret-approver:runner may approve requests in namespace secret-approver"},
	} {
		t.Run(name, func(t *testing.T) {
			j := begin(t, name)
			j.enrol(name)
			j.allow()
			j.must(j.w.admin.Create(t.Context(), &rbacv1.Role{ObjectMeta: j.meta("power"), Rules: []rbacv1.PolicyRule{row.rule}}))
			j.must(j.w.admin.Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: j.meta("power"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "power"},
				Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: j.namespace, Name: "runner"}}}))
			j.ask()
			j.expectRefused(v1alpha1.ReasonRequesterTooStrong, row.words)
		})
	}
}

func TestAJobThatHasFinishedIsRefused(t *testing.T) {
	j := begin(t, "finished-job")
	j.allow()
	j.job()
	config := rest.CopyConfig(j.w.adminConfig)
	// Nobody else can say that it has: the rules let the job-controller alone write the status, and a held Job runs no Pod.
	config.Impersonate.UserName = "system:serviceaccount:kube-system:job-controller"
	jobs := kubernetes.NewForConfigOrDie(config).BatchV1().Jobs(j.namespace)
	// The real job-controller writes it, too: it says that the Job is held.
	j.must(retry.RetryOnConflict(retry.DefaultRetry, func() error {
		job, err := jobs.Get(t.Context(), v1alpha1.NamePrefix+j.name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		now := metav1.Now()
		job.Status.StartTime = &now
		for _, kind := range []batchv1.JobConditionType{batchv1.JobFailureTarget, batchv1.JobFailed} {
			job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now})
		}
		_, err = jobs.UpdateStatus(t.Context(), job, metav1.UpdateOptions{})
		return err
	}))
	j.request()
	j.expectRefused(v1alpha1.ReasonJobRefused, "the Job is already finished")
}

func TestAJobWithoutTheContainerIsRefused(t *testing.T) {
	j := begin(t, "no-container")
	j.allow()
	j.request(func(r *v1alpha1.CapabilityRequest) { r.Spec.Container = "upload" })
	j.job()
	j.expectRefused(v1alpha1.ReasonJobRefused, "upload")
}

func TestAJobThatIsMoreThanOneRunOfOnePodIsRefusedAtOnce(t *testing.T) {
	j := begin(t, "more-than-one")
	for what, edit := range map[string]func(*batchv1.Job){
		"two Pods at once": func(job *batchv1.Job) { job.Spec.Parallelism = ptr.To[int32](2) },
		"two Pods in turn": func(job *batchv1.Job) { job.Spec.Completions = ptr.To[int32](2) },
		"retries":          func(job *batchv1.Job) { job.Spec.BackoffLimit = ptr.To[int32](1) },
		"restarts":         func(job *batchv1.Job) { job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure },
		"retries by a policy": func(job *batchv1.Job) {
			job.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{}}
		},
		"a finalizer": func(job *batchv1.Job) { job.Finalizers = []string{"example.com/hold"} },
	} {
		if err := j.agent.Create(t.Context(), j.sampleJob(edit)); err == nil || !strings.Contains(err.Error(), "ValidatingAdmissionPolicy 'valetkey-jobs'") && !strings.Contains(err.Error(), "ValidatingAdmissionPolicy 'valetkey-job-fields'") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestACapabilityWaitsForItsProviderAndGoesOn(t *testing.T) {
	j := begin(t, "no-provider")
	j.allow()
	j.capability(j.name, j.role())
	j.ask()
	j.expectWaiting(v1alpha1.ReasonIndeterminate, `its provider "no-provider" does not exist`)
	j.provider(j.w.cluster.AWS().Endpoint)
	j.awaitDelivered()
}

func TestACapabilityWaitsForAProviderThatIsNotReady(t *testing.T) {
	j := begin(t, "endpoint-not-allowed")
	j.allow()
	j.provider("https://sts.example.com")
	j.capability(j.name, "arn:aws:iam::123456789012:role/nobody")
	j.ask()
	j.expectWaiting(v1alpha1.ReasonIndeterminate, "endpoint https://sts.example.com is not allowed; start the operator with --aws-endpoint=https://sts.example.com")
}

func TestACapabilityWaitsForItsIdentityToNameIt(t *testing.T) {
	j := begin(t, "identity-unnamed")
	j.allow()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: identities, Name: j.name}}
	j.store(account)
	j.must(j.w.admin.Create(t.Context(), j.capabilityObject("aws-preview", "arn:aws:iam::123456789012:role/nobody")))
	j.ask()
	j.expectWaiting(v1alpha1.ReasonIndeterminate, "ServiceAccount identity-unnamed in namespace valetkey-identities is not annotated valetkey.dev/capability=identity-unnamed")
}

func TestAnSTSThatCannotBeReachedIsAskedAgainUntilItAnswers(t *testing.T) {
	j := begin(t, "unreachable")
	j.allow()
	j.provider(j.w.sts.closed)
	j.capability(j.name, j.role())
	j.ask()
	g := j.awaitIssued(v1alpha1.ReasonBackingOff)
	if words := condition(g.Status.Conditions, v1alpha1.ConditionIssued).Message; !strings.Contains(words, "STS did not answer") {
		t.Errorf("it says %q", words)
	}
	j.expectNothingIssued()
	j.openClosedPort()
	if g := j.awaitDelivered(); g.Status.Attempt < 2 {
		t.Errorf("delivered by attempt %d", g.Status.Attempt)
	}
}

// openClosedPort puts the real STS behind the port on which nobody listened.
func (j *journey) openClosedPort() {
	j.Helper()
	closed, err := url.Parse(j.w.sts.closed)
	j.must(err)
	real, err := url.Parse(j.w.cluster.AWS().Endpoint)
	j.must(err)
	listener, err := net.Listen("tcp", closed.Host)
	j.must(err)
	proxy := httputil.NewSingleHostReverseProxy(real)
	proxy.Transport = &http.Transport{Proxy: nil}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: proxy}}
	server.Start()
	j.Cleanup(server.Close)
}

func TestAnSTSThatDoesNotSayNoForGoodIsAskedAgain(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		answer http.HandlerFunc
		words  string
	}{
		"sts-garbage":   {says(http.StatusOK, "<html>Welcome to the captive portal, secret-of-the-portal</html>"), "not in a form that can be read"},
		"sts-throttles": {refuses(http.StatusBadRequest, "Throttling", "Rate exceeded secret-of-the-portal"), "STS throttles"},
		"sts-breaks":    {says(http.StatusBadGateway, "secret-of-the-portal"), "status 502 was answered, and not in the form of STS's errors"},
		"sts-cut":       {says(http.StatusOK, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRole`), "its answer cannot be read as XML to its end"},
		"sts-silent":    {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "STS did not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			j := begin(t, name)
			j.strange(row.answer)
			g := j.awaitIssued(v1alpha1.ReasonBackingOff)
			if words := condition(g.Status.Conditions, v1alpha1.ConditionIssued).Message; !strings.Contains(words, row.words) || strings.Contains(words, "secret-of-the-portal") {
				t.Errorf("it says %q; want %q", words, row.words)
			}
			j.expectNothingIssued()
			await(t, j.w, g, "tried again", func(g *v1alpha1.CapabilityGrant) bool { return g.Status.Attempt > 1 })
		})
	}
}

func TestAnSTSThatSaysNoForGoodEndsTheGrant(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		code  string
		words string
	}{
		"sts-denies":     {"AccessDenied", "its trust policy does not accept the capability's ServiceAccount"},
		"sts-policy":     {"MalformedPolicyDocument", "is not one that STS understands"},
		"sts-packed":     {"PackedPolicyTooLarge", "name fewer or shorter resources"},
		"sts-unheard-of": {"SecretOfThePortal", "with a code that it does not document"},
	} {
		t.Run(name, func(t *testing.T) {
			j := begin(t, name)
			j.strange(refuses(http.StatusForbidden, row.code, "secret-of-the-portal"))
			g := j.awaitEnd(v1alpha1.OutcomeIssueFailed, v1alpha1.ReasonIssueFailed)
			j.expectNothingIssued()
			r := j.awaitRequestEnd(v1alpha1.ReasonGrantEnded, row.words)
			if text := describe(g) + describe(r); strings.Contains(strings.ToLower(text), "secret-of-the-portal") || strings.Contains(text, "SecretOfThePortal") {
				t.Errorf("the words of STS are repeated:\n%s", text)
			}
			if g.Status.Attempt != 1 || j.w.sts.called(name) != 1 || g.Status.Revocation.Mode != v1alpha1.RevocationNone {
				t.Errorf("attempt %d, asked %d times, revocation %+v", g.Status.Attempt, j.w.sts.called(name), g.Status.Revocation)
			}
		})
	}
}

func TestACredentialThatWasNotAskedForIsNotUsed(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		role    string
		expires time.Duration
		words   string
	}{
		"sts-another-role": {"administrator", 15 * time.Minute, "another role or session than was asked for"},
		"sts-expired":      {"sts-expired", -time.Minute, "a credential that has expired already"},
		"sts-too-long":     {"sts-too-long", 24 * time.Hour, "a credential that lives longer than was asked for"},
	} {
		t.Run(name, func(t *testing.T) {
			j := begin(t, name)
			j.strange(issues(row.role, row.expires))
			g := j.awaitEnd(v1alpha1.OutcomeIssueFailed, v1alpha1.ReasonIssueFailed)
			j.expectNothingIssued()
			j.awaitRequestEnd(v1alpha1.ReasonGrantEnded, row.words)
			// Somebody has it, though not the Job: the grant says until when it could work.
			if rev := g.Status.Revocation; rev.Mode != v1alpha1.RevocationAtExpiry || rev.ExposedUntil == nil {
				t.Errorf("the revocation is %+v", rev)
			}
		})
	}
}

func TestARequestThatIsDeletedWhileItsCredentialIsIssuedGetsNone(t *testing.T) {
	j := begin(t, "deleted-meanwhile")
	asked, deleted := make(chan struct{}), make(chan struct{})
	j.strange(func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-deleted
		issues(j.name, 15*time.Minute)(w, r)
	})
	<-asked
	j.must(j.agent.Delete(t.Context(), j.requestObject()))
	awaitGone(t, j.w, j.requestObject())
	close(deleted)
	awaitGone(t, j.w, j.grantObject())
	j.expectNothingIssued()
	j.expectAudited("revoked", v1alpha1.ReasonRequestGone, v1alpha1.ReasonGrantDeleted)
}

func TestACredentialIsDeliveredInVariablesWhereTheCapabilityAsksForIt(t *testing.T) {
	j := begin(t, "by-variables")
	j.allow()
	role := j.role()
	j.store(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: identities, Name: j.name,
		Annotations: map[string]string{v1alpha1.AnnotationCapability: j.name}}})
	c := j.capabilityObject("aws-preview", role)
	c.Spec.AWS.Delivery = v1alpha1.DeliveryEnv
	j.store(c)
	j.ask()
	g := j.awaitDelivered()
	for _, container := range j.awaitRunning().Spec.Containers {
		var from []string
		for _, e := range container.Env {
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil && e.ValueFrom.SecretKeyRef.Name == g.Status.SecretName {
				from = append(from, e.Name)
			}
		}
		slices.Sort(from)
		var want []string
		if container.Name == g.Spec.Job.Container {
			want = []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
		}
		if !slices.Equal(from, want) {
			t.Errorf("container %s has %v of the Secret; want %v", container.Name, from, want)
		}
	}
}

// issues answers as STS does.
func issues(role string, expires time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		says(http.StatusOK, fmt.Sprintf(`<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/%s/%s</Arn><AssumedRoleId>AROA:x</AssumedRoleId></AssumedRoleUser>
<Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken><Expiration>%s</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
			role, r.PostFormValue("RoleSessionName"), time.Now().Add(expires).UTC().Format(time.RFC3339)))(w, r)
	}
}

// strange asks for a credential of an STS that answers so.
func (j *journey) strange(answer http.HandlerFunc) {
	j.Helper()
	j.w.sts.answer(j.name, answer)
	j.allow()
	j.provider(j.w.sts.url())
	j.capability(j.name, "arn:aws:iam::123456789012:role/"+j.name)
	j.ask()
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func refuses(status int, code, message string) http.HandlerFunc {
	return says(status, fmt.Sprintf(`<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>1</RequestId></ErrorResponse>`, code, message))
}

// role makes a role that the journey's own identity may assume.
func (j *journey) role() string {
	j.Helper()
	arn, err := j.w.cluster.AWS().EnsureRole(j.Context(), localcluster.RoleSpec{Name: j.name, Namespace: identities, ServiceAccount: j.name})
	j.must(err)
	return arn
}

// provider makes a provider of the journey's own.
func (j *journey) provider(endpoint string) {
	j.Helper()
	p := &v1alpha1.CapabilityProvider{}
	j.read("provider.yaml", p)
	p.Name, p.Spec.AWS.STSEndpoint = j.name, endpoint
	j.store(p)
}

// capability makes a capability of the journey's own, with its identity; the journey's request asks for it.
func (j *journey) capability(provider, role string, edits ...func(*v1alpha1.Capability)) {
	j.Helper()
	j.store(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: identities, Name: j.name,
		Annotations: map[string]string{v1alpha1.AnnotationCapability: j.name}}})
	c := j.capabilityObject(provider, role)
	for _, edit := range edits {
		edit(c)
	}
	j.store(c)
}

func (j *journey) capabilityObject(provider, role string) *v1alpha1.Capability {
	j.Helper()
	c := &v1alpha1.Capability{}
	j.read("capability.yaml", c)
	c.Name, c.Spec.ProviderRef.Name, c.Spec.AWS.RoleARN, c.Spec.AWS.ServiceAccountName = j.name, provider, role, j.name
	j.asks = j.name
	return c
}

// expectWaiting: the request waits, which is not a refusal, and says what for.
func (j *journey) expectWaiting(reason, words string) {
	j.Helper()
	r := await(j.T, j.w, j.requestObject(), reason, func(r *v1alpha1.CapabilityRequest) bool {
		c := condition(r.Status.Conditions, v1alpha1.ConditionAllowed)
		return c.Reason == reason && strings.Contains(c.Message, words) || r.Status.EndedAt != nil
	})
	if c := condition(r.Status.Conditions, v1alpha1.ConditionAllowed); r.Status.EndedAt != nil || c.Status != metav1.ConditionUnknown {
		j.Errorf("the request does not wait: %s=%s: %s", c.Reason, c.Status, c.Message)
	}
	j.expectNothingIssued()
}
