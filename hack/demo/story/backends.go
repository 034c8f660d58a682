// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package story

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/hack/demo/stage"
)

// backEnd is what the story of one back end needs.
type backEnd struct {
	name string
	// set up what config/samples does not hold.
	set func(ctx context.Context, s *stage.Stage) error
	ask stage.Ask
	// at is where the container finds the service, for programs that their SDK does not tell.
	at func(s *stage.Stage) string
	// inside is what the container must have said.
	inside []string
	// use uses a copy of the credential from outside, as a thief would who got it in time. The words are those of a refusal; none when
	// it works.
	use func(ctx context.Context, s *stage.Stage, copied map[string][]byte) (refusal string, err error)
}

func backEnds() []backEnd {
	return []backEnd{
		{
			name: "aws-sts", set: func(context.Context, *stage.Stage) error { return nil },
			ask:    stage.Ask{Name: "backend-aws", Environment: "rehearsal", TTLSeconds: 600, Args: []string{"hold"}},
			inside: []string{"holding"}, use: useS3,
		},
		{
			name: "aws-sts, with a revoker", set: func(ctx context.Context, s *stage.Stage) error { return s.Revoker(ctx) },
			ask:    stage.Ask{Name: "backend-aws-revoker", Environment: "rehearsal", TTLSeconds: 600, Args: []string{"hold"}},
			inside: []string{"holding"}, use: useS3,
		},
		{
			name: "kubernetes", set: func(ctx context.Context, s *stage.Stage) error { return s.Kubernetes(ctx) },
			ask:    stage.Ask{Name: "backend-kubernetes", Capability: "read-settings", Environment: "rehearsal", TTLSeconds: 600, Args: []string{"settings", stage.Namespace}},
			inside: []string{"list configmaps in agents ok", "list secrets in agents Forbidden", "list configmaps in default Forbidden"}, use: useAPI,
		},
		{
			name: "vault", set: func(ctx context.Context, s *stage.Stage) error { return s.Vault(ctx) },
			ask:    stage.Ask{Name: "backend-vault", Capability: "read-previews", Environment: "rehearsal", TTLSeconds: 600, Args: []string{"database"}},
			inside: []string{"select from builds ok", "select from salaries permission denied for table salaries"}, use: useDatabase,
		},
		{
			name: "gcp (stand-in)", set: func(ctx context.Context, s *stage.Stage) error { return s.GoogleCloud(ctx) }, at: func(s *stage.Stage) string { return s.GoogleURL() },
			ask: stage.Ask{Name: "backend-gcp", Capability: "write-previews", Environment: "rehearsal", TTLSeconds: 600,
				Command: []string{"/valetkey-exec", "--", "/publish-preview"}, Args: []string{"objects"}},
			inside: []string{"write acme-previews/web-app/index.html OK", "write acme-previews/payments/index.html Forbidden", "write acme-salaries/web-app/index.html Forbidden"}, use: useGoogle,
		},
		{
			name: "github-app (stand-in)", set: func(ctx context.Context, s *stage.Stage) error { return s.GitHub(ctx) },
			ask:    stage.Ask{Name: "backend-github", Capability: "read-ci-artifacts", Environment: "rehearsal", TTLSeconds: 600, Args: []string{"artifacts"}},
			inside: []string{"artifacts of acme/web-app OK", "artifacts of acme/payments Not Found"}, use: useGitHub,
		},
		{
			name: "token", set: func(ctx context.Context, s *stage.Stage) error { return s.Token(ctx) },
			ask:    stage.Ask{Name: "backend-token", Capability: "read-artifacts", Environment: "rehearsal", TTLSeconds: 600, Args: []string{"hold"}},
			inside: []string{"holding"}, use: useToken,
		},
	}
}

// BackEnds tells, for each back end, how a credential is issued, used and ended, and what becomes of a copy of it.
func BackEnds(ctx context.Context, s *stage.Stage, out io.Writer) error {
	t := &teller{stage: s, out: out}
	var table strings.Builder
	rows := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(rows, "BACK END\tSCOPE\tTTL ASKED\tGIVEN\tREVOCATION\tCONFIRMED AFTER\tA COPY AFTERWARDS")
	for _, b := range backEnds() {
		_, _ = fmt.Fprintf(out, "\n%s\n", b.name)
		row, err := t.backEnd(ctx, b)
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		_, _ = fmt.Fprintln(rows, strings.Join(row, "\t"))
	}
	if err := rows.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%s", table.String())
	return err
}

func (t *teller) backEnd(ctx context.Context, b backEnd) ([]string, error) {
	if err := b.set(ctx, t.stage); err != nil {
		return nil, err
	}
	if b.at != nil {
		b.ask.Args = append(b.ask.Args, b.at(t.stage))
	}
	if err := t.stage.Request(ctx, stage.Agent, b.ask); err != nil {
		return nil, err
	}
	t.says("agent", "kubectl create -k request/   # "+b.ask.Name)
	if err := t.delivered(ctx, b.ask.Name); err != nil {
		return nil, err
	}
	g, err := t.stage.AwaitGrant(ctx, b.ask.Name, v1alpha1.ConditionDelivered)
	if err != nil {
		return nil, err
	}
	if err := t.stage.AwaitLog(ctx, b.ask.Name, "publish", b.inside); err != nil {
		return nil, err
	}
	for _, line := range b.inside {
		t.line("container", line)
	}
	copied, err := t.stage.Copy(ctx, g)
	if err != nil {
		return nil, err
	}
	refusal, err := b.use(ctx, t.stage, copied)
	if err != nil || refusal != "" {
		return nil, fmt.Errorf("a copy of the living credential: %s: %w", refusal, err)
	}
	t.line("copy", "works while the grant lives")
	t.says("alice", "kubectl annotate capgrant "+g.Name+" valetkey.dev/revoke=enough")
	if _, err := t.kubectl(ctx, stage.Alice, "annotate", "capgrant", g.Name, v1alpha1.AnnotationRevoke+"=enough"); err != nil {
		return nil, err
	}
	if g, err = t.stage.AwaitGrant(ctx, b.ask.Name, v1alpha1.ConditionEnded); err != nil {
		return nil, err
	}
	t.revoked(g)
	if refusal, err = b.use(ctx, t.stage, copied); err != nil {
		return nil, err
	}
	return t.verdict(b, g, refusal)
}

// verdict insists that what the grant says of the credential is what happened to its copy.
func (t *teller) verdict(b backEnd, g *v1alpha1.CapabilityGrant, refusal string) ([]string, error) {
	given := g.Status.CredentialExpiresAt.Sub(g.Status.IssuedAt.Time).Round(time.Second)
	row := []string{b.name, strings.Join(g.Spec.Scope, "; "), fmt.Sprintf("%ds", b.ask.TTLSeconds), fmt.Sprintf("%.0fs", given.Seconds()), string(g.Status.Revocation.Mode)}
	switch r := g.Status.Revocation; {
	case r.Mode == v1alpha1.RevocationImmediate && refusal != "":
		t.line("copy", "refused: "+refusal)
		return append(row, fmt.Sprintf("%.0fs", r.ConfirmedAt.Sub(g.Status.Stop.At.Time).Seconds()), "refused: "+refusal), nil
	case r.Mode == v1alpha1.RevocationAtExpiry && r.ExposedUntil != nil && refusal == "":
		until := "works until " + r.ExposedUntil.UTC().Format(time.TimeOnly)
		t.line("copy", until+", as the grant says")
		return append(row, "-", until), nil
	default:
		return nil, fmt.Errorf("the grant says %s, and the copy was refused with %q", r.Mode, refusal)
	}
}

// useS3 uploads with the copied session.
func useS3(ctx context.Context, s *stage.Stage, copied map[string][]byte) (string, error) {
	dir, err := os.MkdirTemp("", "valetkey-demo")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "credentials")
	if err := os.WriteFile(file, copied["aws.credentials"], 0o600); err != nil {
		return "", err
	}
	loaded, err := config.LoadDefaultConfig(ctx, config.WithSharedCredentialsFiles([]string{file}), config.WithSharedConfigFiles(nil), config.WithRegion(s.Cluster.AWS().Region))
	if err != nil {
		return "", errors.New("the copy cannot be read")
	}
	bucket, key := "previews", "web-app/copy.html"
	endpoint := s.Cluster.AWS().S3Endpoint
	client := s3.NewFromConfig(loaded, func(o *s3.Options) { o.BaseEndpoint, o.UsePathStyle = &endpoint, true })
	_, err = client.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader("copied")})
	var refused smithy.APIError
	if errors.As(err, &refused) {
		return refused.ErrorCode() + " by S3", nil
	}
	return "", err
}

// useAPI lists ConfigMaps with the copied kubeconfig, at the address that this machine reaches the API server by.
func useAPI(ctx context.Context, s *stage.Stage, copied map[string][]byte) (string, error) {
	loaded, err := clientcmd.RESTConfigFromKubeConfig(copied["kubernetes.config"])
	if err != nil {
		return "", errors.New("the copy cannot be read")
	}
	config := rest.AnonymousClientConfig(s.Cluster.AdminConfig())
	config.BearerToken = loaded.BearerToken
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return "", err
	}
	_, err = clients.CoreV1().ConfigMaps(stage.Namespace).List(ctx, metav1.ListOptions{})
	if apierrors.IsUnauthorized(err) || apierrors.IsForbidden(err) {
		return string(apierrors.ReasonForError(err)) + " by the API server", nil
	}
	return "", err
}

// useDatabase connects with the copied user, at the address that this machine reaches the database by.
func useDatabase(ctx context.Context, s *stage.Stage, copied map[string][]byte) (string, error) {
	settings, err := pgx.ParseConfig(strings.ReplaceAll(strings.TrimPrefix(string(copied["postgres.service"]), "[valetkey]"), "\n", " "))
	if err != nil {
		return "", errors.New("the copy cannot be read")
	}
	settings.Host = s.Cluster.Vault().PostgresHost
	connection, err := pgx.ConnectConfig(ctx, settings)
	if refused := (*pgconn.PgError)(nil); errors.As(err, &refused) {
		return "SQLSTATE " + refused.Code + " by PostgreSQL", nil
	}
	if err != nil {
		return "", errors.New("the database did not answer")
	}
	return "", connection.Close(ctx)
}

// useGitHub lists artifacts with the copied token, useGoogle previews.
func useGitHub(ctx context.Context, s *stage.Stage, copied map[string][]byte) (string, error) {
	return useToGet(ctx, s.GitHubURL()+"/repos/acme/web-app/actions/artifacts", copied["github.token"])
}

func useGoogle(ctx context.Context, s *stage.Stage, copied map[string][]byte) (string, error) {
	return useToGet(ctx, s.GoogleURL()+"/storage/v1/b/acme-previews/o?prefix=web-app/", copied["gcp.access-token"])
}

func useToGet(ctx context.Context, url string, token []byte) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+string(token))
	answer, err := (&http.Client{Transport: &http.Transport{}}).Do(request)
	if err != nil {
		return "", errors.New("the stand-in did not answer")
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return answer.Status + " by the stand-in", nil
	}
	return "", nil
}

// useToken shows the copied token to the internal service, which asks the operator.
func useToken(ctx context.Context, s *stage.Stage, copied map[string][]byte) (string, error) {
	active, err := s.Introspect(ctx, string(copied["token.token"]))
	if err == nil && !active {
		return "inactive, by introspection", nil
	}
	return "", err
}
