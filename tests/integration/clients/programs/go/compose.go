package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/compose-spec/compose-go/v2/cli"
)

// composeProject loads the project of a file as `docker compose` does, with the variables of the environment and
// no other file, and prints it as JSON.
func composeProject() {
	file, err := filepath.Abs(os.Args[2])
	must(err)
	options, err := cli.NewProjectOptions(
		[]string{file},
		cli.WithWorkingDirectory(filepath.Dir(file)),
		cli.WithName("checked"),
		cli.WithOsEnv,
		cli.WithConsistency(true),
		cli.WithNormalization(true),
	)
	must(err)
	project, err := options.LoadProject(context.Background())
	must(err)
	text, err := json.Marshal(project)
	must(err)
	fmt.Println(string(text))
}
