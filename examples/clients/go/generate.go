// Makes one picture over gRPC and writes it as a PNG file. Says on standard error what happens on the way.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	pb "polyrhythm/v1"
)

const (
	domain          = "polyrhythm"
	answerBytesMax  = 8 << 20          // gRPC's own limit, 4 MiB, is less than plans of large fleets take
	keepaliveTime   = 20 * time.Second // a coordinator that is gone without a word is noticed within 30 s
	keepaliveAnswer = 10 * time.Second
)

func main() {
	address := flag.String("address", "127.0.0.1:50051", "of the coordinator")
	output := flag.String("o", "picture.png", "file to write")
	deadline := flag.Duration("deadline", 10*time.Minute, "for the whole call")
	image := &pb.ImageRequest{}
	// What is left out is for the model to say, so nothing is sent for it.
	flag.Func("width", "in pixels", pixels(&image.WidthPx))
	flag.Func("height", "in pixels", pixels(&image.HeightPx))
	flag.Func("seed", "of the noise", func(text string) error {
		image.Seed = new(uint64)
		_, err := fmt.Sscan(text, image.Seed)
		return err
	})
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: generate [options] PROMPT")
		os.Exit(2)
	}
	image.Condition = &pb.ImageRequest_Prompt{Prompt: flag.Arg(0)}

	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(interrupted, *deadline)
	defer cancel() // ends the call, and the job with it
	if err := generate(ctx, *address, image, *output); err != nil {
		explain(err)
		os.Exit(1)
	}
}

func pixels(field **int32) func(string) error {
	return func(text string) error {
		*field = new(int32)
		_, err := fmt.Sscan(text, *field)
		return err
	}
}

func generate(ctx context.Context, address string, image *pb.ImageRequest, output string) error {
	connection, err := grpc.Dial(
		address,
		grpc.WithInsecure(),
		grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(answerBytesMax)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveAnswer}),
	)
	if err != nil {
		return err
	}
	defer connection.Close()
	stream, err := pb.NewImageServiceClient(connection).Generate(ctx, &pb.GenerateRequest{Image: image})
	if err != nil {
		return err
	}
	var png []byte
	for {
		response, err := stream.Recv()
		if err == io.EOF { // the last picture is done
			return nil
		}
		if err != nil {
			return err
		}
		if chunk := response.GetImageChunk(); chunk != nil {
			png = append(png, chunk.Data...)
			if chunk.Last {
				if err := os.WriteFile(output, png, 0o644); err != nil {
					return err
				}
			}
		}
		tell(response, output)
	}
}

func tell(response *pb.GenerateResponse, output string) {
	switch event := response.Event.(type) {
	case *pb.GenerateResponse_JobAccepted:
		image := event.JobAccepted.Image // all defaults are filled in
		say("%s: %dx%d, %d steps, seed %d", event.JobAccepted.Job, image.WidthPx, image.HeightPx, image.Steps, image.Seed)
	case *pb.GenerateResponse_JobQueued:
		if place := event.JobQueued.Position; place == 0 {
			say("begins")
		} else {
			say("place %d in the queue", place)
		}
	case *pb.GenerateResponse_ImagePlanned:
		say("%s", event.ImagePlanned.Explanation.Chosen.Label)
	case *pb.GenerateResponse_ImageProgressed:
		progress := event.ImageProgressed
		say("step %d of %d, about %.1f s left", progress.Step, progress.Steps, progress.LeftS)
	case *pb.GenerateResponse_ImageCompleted:
		var agents []string
		for _, usage := range event.ImageCompleted.Report.Agents {
			agents = append(agents, usage.Agent)
		}
		say("%s: %s", output, strings.Join(agents, " and "))
	default: // a later version of the coordinator may tell more; what is not of interest is passed over
	}
}

// explain says what is known of a failure: its code, the coordinator's reason, and what is wrong with which field.
func explain(err error) {
	failure := status.Convert(err)
	reason := "from gRPC itself"
	var wrong []*errdetails.BadRequest_FieldViolation
	for _, detail := range failure.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.Domain == domain {
				reason = detail.Reason
			}
		case *errdetails.BadRequest:
			wrong = detail.FieldViolations
		}
	}
	say("%s (%s): %s", failure.Code(), reason, failure.Message())
	for _, violation := range wrong {
		say("  %s: %s", violation.Field, violation.Description)
	}
}

func say(format string, values ...interface{}) {
	fmt.Fprintf(os.Stderr, format+"\n", values...)
}
