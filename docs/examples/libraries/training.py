from transformers import TrainerCallback

import progresskit


class ProgressCallback(TrainerCallback):
    def __init__(self, job):
        self.job = job

    def on_train_begin(self, args, state, control, **kwargs):
        self.job.set_progress(state.global_step, state.max_steps, "Training")

    def on_step_end(self, args, state, control, **kwargs):
        self.job.set_progress(state.global_step)
        if self.job.cancel_requested:
            control.should_training_stop = True

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.job.update(meta=logs)


def train(trainer, id):
    with progresskit.observe(id, unit="steps") as job:
        trainer.add_callback(ProgressCallback(job))
        trainer.train()
        job.check_cancelled()  # a training that was stopped has not succeeded
