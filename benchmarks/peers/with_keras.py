"""Keras 3 on TensorFlow: `fit` with a `train_step` of one's own, compiled into a graph as it is by default."""

import os
import sys

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "tensorflow"}

import keras
import numpy as np
import tensorflow as tf
from gate import Gate
from keras import layers, ops

BATCH, LATENT, RATE = 128, 96, 1e-3
threads = int(os.environ.get("OMP_NUM_THREADS", "2"))
tf.config.threading.set_intra_op_parallelism_threads(threads)
tf.config.threading.set_inter_op_parallelism_threads(threads)

bn = {"momentum": 0.9, "epsilon": 1e-5}
generator = keras.Sequential([
    keras.Input((LATENT,)),
    layers.Dense(1024, activation="relu"), layers.BatchNormalization(**bn),
    layers.Dense(7 * 7 * 128, activation="relu"), layers.BatchNormalization(**bn),
    layers.Reshape((7, 7, 128)),
    layers.Conv2DTranspose(64, 4, 2, "same", activation="relu"), layers.BatchNormalization(**bn),
    layers.Conv2DTranspose(1, 4, 2, "same", activation="tanh"),
])  # fmt: skip
discriminator = keras.Sequential([
    keras.Input((28, 28, 1)),
    layers.Conv2D(32, 5), layers.LeakyReLU(0.01), layers.MaxPooling2D(),
    layers.Conv2D(64, 5), layers.LeakyReLU(0.01), layers.MaxPooling2D(),
    layers.Flatten(), layers.Dense(1024), layers.LeakyReLU(0.01), layers.Dense(1),
])  # fmt: skip


class GAN(keras.Model):
    def __init__(self):
        super().__init__()
        self.G, self.D = generator, discriminator
        self.optimizer_G = keras.optimizers.Adam(RATE, 0.5, 0.999)
        self.optimizer_D = keras.optimizers.Adam(RATE, 0.5, 0.999)
        self.cost = keras.losses.BinaryCrossentropy(from_logits=True)

    def noise(self):
        return keras.random.uniform((BATCH, LATENT), -1, 1)

    def train_step(self, real):
        ones, zeros = ops.ones((BATCH, 1)), ops.zeros((BATCH, 1))
        fake = self.G(self.noise(), training=True)
        with tf.GradientTape() as tape:
            cost = self.cost(ones, self.D(real, training=True)) + self.cost(zeros, self.D(fake, training=True))
        weights = self.D.trainable_weights
        self.optimizer_D.apply_gradients(zip(tape.gradient(cost, weights), weights, strict=True))
        with tf.GradientTape() as tape:
            g_cost = self.cost(ones, self.D(self.G(self.noise(), training=True), training=True))
        weights = self.G.trainable_weights
        self.optimizer_G.apply_gradients(zip(tape.gradient(g_cost, weights), weights, strict=True))
        return {"D": cost, "G": g_cost}


class Turns(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        count = lambda net: int(sum(np.prod(w.shape) for w in net.trainable_weights))
        self.gate = Gate([count(generator), count(discriminator)])

    def on_train_batch_begin(self, batch, logs=None):
        self.gate.begin()


images = np.load(sys.argv[1])[..., None].astype("float32") / 127.5 - 1
data = tf.data.Dataset.from_tensor_slices(images).shuffle(10_000).repeat().batch(BATCH, drop_remainder=True)
gan = GAN()
gan.compile(jit_compile=os.environ.get("JIT") == "1" or "auto")
gan.fit(data.prefetch(2), steps_per_epoch=10**6, epochs=1, verbose=0, callbacks=[Turns()])
