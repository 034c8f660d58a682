// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Command workload is what runs in the demo's and the tests' containers: an ordinary S3 client that is configured by nothing
// but what its container was given.
//
//	publish-preview publish BUCKET/KEY   upload an object, then try what must be refused
//	publish-preview settings NAMESPACE   list the ConfigMaps, then try what must be refused, and hold
//	publish-preview database             read the table of builds, then try what must be refused, and hold
//	publish-preview artifacts            list the artifacts of a repository's workflows, then try what must be refused, and hold
//	publish-preview objects URL          write an object to Cloud Storage, then try what must be refused, and hold
//	publish-preview spill BUCKET/KEY     upload an object, then print the whole environment, as helpful tools do when they fail
//	publish-preview hold [DURATION]      upload nothing; stay until told to end, or for so long
//	publish-preview look                 say whether there is any credential to be seen here
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"cloud.google.com/go/auth/credentials"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 2 && args[0] == "publish":
		return publish(ctx, args[1])
	case len(args) == 2 && args[0] == "spill":
		err := publish(ctx, args[1])
		fmt.Println(strings.Join(os.Environ(), "\n"))
		return err
	case len(args) == 2 && args[0] == "settings":
		return settings(ctx, args[1])
	case len(args) == 1 && args[0] == "database":
		return database(ctx)
	case len(args) == 1 && args[0] == "artifacts":
		return artifacts(ctx)
	case len(args) == 2 && args[0] == "objects":
		return objects(ctx, args[1])
	case len(args) >= 1 && args[0] == "hold":
		return hold(ctx, args[1:])
	case len(args) == 1 && args[0] == "look":
		return look()
	default:
		return fmt.Errorf("unknown command %q", args)
	}
}

// publish uploads one object and then tries what the credential must not be good for.
func publish(ctx context.Context, target string) error {
	bucket, key, ok := strings.Cut(target, "/")
	if !ok {
		return fmt.Errorf("want BUCKET/KEY, got %q", target)
	}
	loaded, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	client := s3.NewFromConfig(loaded)
	_, err = client.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader("<h1>preview</h1>")})
	if err != nil {
		return fmt.Errorf("put %s: %s", target, code(err))
	}
	fmt.Println("put", target, "ok")
	_, err = client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	fmt.Println("get", target, code(err))
	for _, other := range []struct{ bucket, key string }{{bucket, "payments/" + key}, {"releases", key}} {
		_, err = client.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(other.bucket), Key: aws.String(other.key), Body: strings.NewReader("x")})
		fmt.Println("put", other.bucket+"/"+other.key, code(err))
	}
	return nil
}

// code is the service's own code, and never more of its answer.
func code(err error) string {
	var answer smithy.APIError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &answer):
		return answer.ErrorCode()
	default:
		return "no answer"
	}
}

// settings lists ConfigMaps with the kubeconfig that the container was given, tries what it must not be good for, and holds.
func settings(ctx context.Context, namespace string) error {
	loaded, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return errors.New("there is no kubeconfig that can be read")
	}
	clients, err := kubernetes.NewForConfig(loaded)
	if err != nil {
		return err
	}
	if _, err := clients.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{}); err != nil {
		return fmt.Errorf("list configmaps in %s: %s", namespace, apierrors.ReasonForError(err))
	}
	fmt.Println("list configmaps in", namespace, "ok")
	_, err = clients.CoreV1().Secrets(namespace).List(ctx, metav1.ListOptions{})
	fmt.Println("list secrets in", namespace, apierrors.ReasonForError(err))
	_, err = clients.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{})
	fmt.Println("list configmaps in default", apierrors.ReasonForError(err))
	return hold(ctx, nil)
}

// database reads with what a PostgreSQL client finds in its environment, tries what it must not be good for, and holds.
func database(ctx context.Context) error {
	connection, err := pgx.Connect(ctx, "")
	if err != nil {
		return errors.New("the database does not accept what the container was given")
	}
	defer func() { _ = connection.Close(context.WithoutCancel(ctx)) }()
	for _, table := range []string{"builds", "salaries"} {
		_, err := connection.Exec(ctx, "SELECT * FROM "+pgx.Identifier{table}.Sanitize())
		refused := (*pgconn.PgError)(nil)
		switch {
		case err == nil:
			fmt.Println("select from", table, "ok")
		case errors.As(err, &refused):
			fmt.Println("select from", table, refused.Message)
		default:
			return errors.New("the database went away")
		}
	}
	return hold(ctx, nil)
}

// artifacts reads with the token that the container was given, tries what it must not be good for, and holds.
func artifacts(ctx context.Context) error {
	token, err := os.ReadFile(os.Getenv("GITHUB_TOKEN_FILE"))
	if err != nil {
		return errors.New("there is no token that can be read")
	}
	own := os.Getenv("GITHUB_REPOSITORY")
	owner, _, _ := strings.Cut(own, "/")
	for _, repository := range []string{own, owner + "/payments"} {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, os.Getenv("GITHUB_API_URL")+"/repos/"+repository+"/actions/artifacts", http.NoBody)
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+string(token))
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return errors.New("GitHub does not answer")
		}
		_ = answer.Body.Close()
		fmt.Println("artifacts of", repository, http.StatusText(answer.StatusCode))
	}
	return hold(ctx, nil)
}

// objects writes with the credentials that Google's client library finds, tries what they must not be good for, and holds.
func objects(ctx context.Context, storage string) error {
	found, err := credentials.DetectDefault(&credentials.DetectOptions{Scopes: []string{"https://www.googleapis.com/auth/devstorage.read_write"}})
	if err != nil {
		return errors.New("there are no credentials that Google's library finds")
	}
	token, err := found.Token(ctx)
	if err != nil {
		return errors.New("there is no token that Google's library gets")
	}
	for _, object := range []string{"acme-previews/web-app/index.html", "acme-previews/payments/index.html", "acme-salaries/web-app/index.html"} {
		bucket, name, _ := strings.Cut(object, "/")
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, storage+"/upload/storage/v1/b/"+bucket+"/o?uploadType=media&name="+url.QueryEscape(name), http.NoBody)
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+token.Value)
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return errors.New("no answer of Cloud Storage")
		}
		_ = answer.Body.Close()
		fmt.Println("write", object, http.StatusText(answer.StatusCode))
	}
	return hold(ctx, nil)
}

// hold keeps the container running until it is told to end.
func hold(ctx context.Context, args []string) error {
	if len(args) > 0 {
		limit, err := time.ParseDuration(args[0])
		if err != nil {
			return err
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	fmt.Println("holding")
	<-ctx.Done()
	if errors.Is(ctx.Err(), context.Canceled) {
		return errors.New("told to end")
	}
	return nil
}

// credentialish are the variables by which containers find their credentials.
var credentialish = regexp.MustCompile(`^(AWS_|KUBECONFIG$|PG|GITHUB_|GH_|GOOGLE_|CLOUDSDK_|VALETKEY_)`)

// look names, without their values, the variables and files that would hold a credential.
func look() error {
	found := []string{}
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); credentialish.MatchString(name) {
			found = append(found, name)
		}
	}
	if entries, err := os.ReadDir("/var/run/secrets/valetkey.dev"); err == nil {
		for _, entry := range entries {
			found = append(found, entry.Name())
		}
	}
	if len(found) == 0 {
		fmt.Println("sees nothing")
		return nil
	}
	return fmt.Errorf("sees %s", strings.Join(found, " "))
}
