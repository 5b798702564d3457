"""What the site says about the course beyond what the notebooks say themselves."""

# The figure on a chapter's card: words of its alt text, which is its title or `#| fig-alt`, and the part to
# show as shares of its width and height (left, top, right, bottom). Without an entry: the chapter's largest
# figure, whole.
CARDS = {
    "00_math": ("Top: noise, walked back", (0, 0.07, 1, 1)),
    "01_schedule": ("What is in x_t", (0, 0.1, 0.48, 1)),
    "02_forward": ("Four digits, 2, 3, 5 and 8", (0, 0.13, 0.6637, 1)),
    "03_unet": ("The U-Net, drawn", (0, 0.08, 1, 1)),
    "04_training": ("Eight digits, from the same noise", (0.1769, 0.1, 0.93, 1)),
    "05_sampling": ("64 digits", (0, 0.06, 1, 0.5165)),
    "06_evaluation": ("Twenty real points", (0, 0, 0.67, 1)),
    "07_ladder": ("The ladder as digits", (0.3059, 0.0731, 0.9861, 1)),
}

# Widgets: kind, and the heading of the chapter that it comes before.
WIDGETS = {
    "01_schedule": [("schedule", "Why the tables are double precision")],
    "02_forward": [("forward", "Moments of real digits")],
}

# How the text cites a work -> its entry in pages/bibliography.md.
CITATIONS = {
    r"Ho et al\.,? \(?2020\)?": "ho2020",
    r"Sohl-Dickstein et al\.,? \(?2015\)?": "sohl2015",
    r"Nichol (?:&|and) Dhariwal,? \(?2021\)?": "nichol2021",
    r"Yang Song et al\.,? \(?2021\)?": "yangsong2021",
    r"Song et al\.,? \(?2021\)?": "song2021",
    r"Lu et al\.,? \(?2022\)?": "lu2022",
    r"Kingma et al\.,? \(?2021\)?": "kingma2021",
    r"Karras et al\.,? \(?2022\)?": "karras2022",
    r"Salimans (?:&|and) Ho,? \(?2022\)?": "salimans2022",
    r"Ho (?:&|and) Salimans,? \(?2022\)?": "hosalimans2022",
    r"Vaswani et al\.,? \(?2017\)?": "vaswani2017",
    r"Wu (?:&|and) He,? \(?2018\)?": "wu2018",
    r"He et al\.,? \(?2016\)?": "he2016",
    r"Elfwing et al\.,? \(?2017\)?": "elfwing2017",
    r"Odena et al\.,? \(?2016\)?": "odena2016",
    r"Ronneberger et al\.,? \(?2015\)?": "ronneberger2015",
    r"Xiao et al\.,? \(?2017\)?": "xiao2017",
    r"Lin et al\.,? \(?202[34]\)?": "lin2024",
    r"Heusel et al\.,? \(?2017\)?": "heusel2017",
    r"Bińkowski et al\.,? \(?2018\)?": "binkowski2018",
    r"Kynkäänniemi et al\.,? \(?2019\)?": "kynkaanniemi2019",
    r"Naeem et al\.,? \(?2020\)?": "naeem2020",
    r"Dowson (?:&|and) Landau,? \(?1982\)?": "dowson1982",
    r"LeCun et al\.,? \(?1998\)?": "lecun1998",
}

# Glossary terms that everyday words look like: no link from the other chapters' prose.
UNLINKED = {"precision", "score", "bit", "nat", "prior", "schedule", "decoder", "entropy"}

MODULE_ORDER = [
    "gaussian",
    "schedule",
    "forward",
    "parameterization",
    "unet",
    "paper_unet",
    "training",
    "sampling",
    "solvers",
    "guidance",
    "classifier",
    "metrics",
    "data",
    "plot",
    "storage",
    "run",
    "cli",
]

BIBLIOGRAPHY = {
    "ho2020": (
        "Jonathan Ho, Ajay Jain, Pieter Abbeel",
        2020,
        "Denoising Diffusion Probabilistic Models",
        "NeurIPS",
        "https://arxiv.org/abs/2006.11239",
    ),
    "sohl2015": (
        "Jascha Sohl-Dickstein, Eric A. Weiss, Niru Maheswaranathan, Surya Ganguli",
        2015,
        "Deep Unsupervised Learning using Nonequilibrium Thermodynamics",
        "ICML",
        "https://arxiv.org/abs/1503.03585",
    ),
    "nichol2021": (
        "Alex Nichol, Prafulla Dhariwal",
        2021,
        "Improved Denoising Diffusion Probabilistic Models",
        "ICML",
        "https://arxiv.org/abs/2102.09672",
    ),
    "song2021": (
        "Jiaming Song, Chenlin Meng, Stefano Ermon",
        2021,
        "Denoising Diffusion Implicit Models",
        "ICLR",
        "https://arxiv.org/abs/2010.02502",
    ),
    "yangsong2021": (
        "Yang Song, Jascha Sohl-Dickstein, Diederik P. Kingma, Abhishek Kumar, Stefano Ermon, Ben Poole",
        2021,
        "Score-Based Generative Modeling through Stochastic Differential Equations",
        "ICLR",
        "https://arxiv.org/abs/2011.13456",
    ),
    "lu2022": (
        "Cheng Lu, Yuhao Zhou, Fan Bao, Jianfei Chen, Chongxuan Li, Jun Zhu",
        2022,
        "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models",
        "arXiv",
        "https://arxiv.org/abs/2211.01095",
    ),
    "kingma2021": (
        "Diederik P. Kingma, Tim Salimans, Ben Poole, Jonathan Ho",
        2021,
        "Variational Diffusion Models",
        "NeurIPS",
        "https://arxiv.org/abs/2107.00630",
    ),
    "karras2022": (
        "Tero Karras, Miika Aittala, Timo Aila, Samuli Laine",
        2022,
        "Elucidating the Design Space of Diffusion-Based Generative Models",
        "NeurIPS",
        "https://arxiv.org/abs/2206.00364",
    ),
    "salimans2022": (
        "Tim Salimans, Jonathan Ho",
        2022,
        "Progressive Distillation for Fast Sampling of Diffusion Models",
        "ICLR",
        "https://arxiv.org/abs/2202.00512",
    ),
    "hosalimans2022": (
        "Jonathan Ho, Tim Salimans",
        2022,
        "Classifier-Free Diffusion Guidance",
        "arXiv",
        "https://arxiv.org/abs/2207.12598",
    ),
    "vaswani2017": (
        "Ashish Vaswani, Noam Shazeer, Niki Parmar, Jakob Uszkoreit, Llion Jones, Aidan N. Gomez, Łukasz "
        "Kaiser, Illia Polosukhin",
        2017,
        "Attention Is All You Need",
        "NeurIPS",
        "https://arxiv.org/abs/1706.03762",
    ),
    "wu2018": (
        "Yuxin Wu, Kaiming He",
        2018,
        "Group Normalization",
        "ECCV",
        "https://arxiv.org/abs/1803.08494",
    ),
    "he2016": (
        "Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun",
        2016,
        "Deep Residual Learning for Image Recognition",
        "CVPR",
        "https://arxiv.org/abs/1512.03385",
    ),
    "elfwing2017": (
        "Stefan Elfwing, Eiji Uchibe, Kenji Doya",
        2017,
        "Sigmoid-Weighted Linear Units for Neural Network Function Approximation in Reinforcement Learning",
        "arXiv",
        "https://arxiv.org/abs/1702.03118",
    ),
    "odena2016": (
        "Augustus Odena, Vincent Dumoulin, Chris Olah",
        2016,
        "Deconvolution and Checkerboard Artifacts",
        "Distill",
        "https://doi.org/10.23915/distill.00003",
    ),
    "ronneberger2015": (
        "Olaf Ronneberger, Philipp Fischer, Thomas Brox",
        2015,
        "U-Net: Convolutional Networks for Biomedical Image Segmentation",
        "MICCAI",
        "https://arxiv.org/abs/1505.04597",
    ),
    "xiao2017": (
        "Han Xiao, Kashif Rasul, Roland Vollgraf",
        2017,
        "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
        "arXiv",
        "https://arxiv.org/abs/1708.07747",
    ),
    "lin2024": (
        "Shanchuan Lin, Bingchen Liu, Jiashi Li, Xiao Yang",
        2024,
        "Common Diffusion Noise Schedules and Sample Steps are Flawed",
        "WACV",
        "https://arxiv.org/abs/2305.08891",
    ),
    "heusel2017": (
        "Martin Heusel, Hubert Ramsauer, Thomas Unterthiner, Bernhard Nessler, Sepp Hochreiter",
        2017,
        "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium",
        "NeurIPS",
        "https://arxiv.org/abs/1706.08500",
    ),
    "binkowski2018": (
        "Mikołaj Bińkowski, Danica J. Sutherland, Michael Arbel, Arthur Gretton",
        2018,
        "Demystifying MMD GANs",
        "ICLR",
        "https://arxiv.org/abs/1801.01401",
    ),
    "kynkaanniemi2019": (
        "Tuomas Kynkäänniemi, Tero Karras, Samuli Laine, Jaakko Lehtinen, Timo Aila",
        2019,
        "Improved Precision and Recall Metric for Assessing Generative Models",
        "NeurIPS",
        "https://arxiv.org/abs/1904.06991",
    ),
    "naeem2020": (
        "Muhammad Ferjad Naeem, Seong Joon Oh, Youngjung Uh, Yunjey Choi, Jaejun Yoo",
        2020,
        "Reliable Fidelity and Diversity Metrics for Generative Models",
        "ICML",
        "https://arxiv.org/abs/2002.09797",
    ),
    "dowson1982": (
        "D. C. Dowson, B. V. Landau",
        1982,
        "The Fréchet Distance between Multivariate Normal Distributions",
        "Journal of Multivariate Analysis 12(3)",
        "https://doi.org/10.1016/0047-259X(82)90077-X",
    ),
    "lecun1998": (
        "Yann LeCun, Léon Bottou, Yoshua Bengio, Patrick Haffner",
        1998,
        "Gradient-Based Learning Applied to Document Recognition",
        "Proceedings of the IEEE 86(11)",
        "https://doi.org/10.1109/5.726791",
    ),
}
