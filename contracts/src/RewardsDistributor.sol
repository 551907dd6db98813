// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {EpochRoots} from "./EpochRoots.sol";

/// @title Rewards by one Merkle root per epoch
/// @notice Every epoch's tree holds, for each account, all that it has *ever* earned. Once a root is active, anyone may
/// claim for anyone; the money goes to the account, or where the account's signature says.
/// @dev Cumulative leaves after 1inch's cumulative-merkle-drop, delayed activation after EigenLayer's
/// RewardsCoordinator, bonded challenges after Angle's Merkl. The contract knows neither inferences nor contributors:
/// `logRoot` commits to the published log from which anyone recomputes `root`.
///
/// What holds at all times: totalClaimed <= cumulativeTotal of the last active epoch <= funded, and
/// token balance >= funded - totalClaimed + bonds. `claimed[account]` never falls.
contract RewardsDistributor is EpochRoots, EIP712 {
    using SafeERC20 for IERC20;

    struct Claim {
        address account;
        uint128 cumulative;
        bytes32[] proof;
    }

    /// @dev A leaf with where to pay it, as the account signed it.
    struct SignedClaim {
        address account;
        address to;
        uint128 cumulative;
        uint128 maxFee; // the most that the sender of the transaction may keep
        uint64 deadline; // last timestamp at which it can be used
        bytes32[] proof;
        bytes signature;
    }

    /// @notice EIP-712 type of what an account signs to be paid elsewhere.
    bytes32 public constant CLAIM_TO_TYPEHASH =
        keccak256("ClaimTo(address account,address to,uint256 cumulative,uint256 maxFee,uint256 deadline)");

    /// @notice What each account has been paid so far.
    mapping(address account => uint128) public claimed;

    /// @notice An account was paid what it had earned and not yet had.
    event Claimed(address indexed account, uint64 indexed epoch, uint128 amount, uint128 cumulative);
    /// @notice Follows `Claimed` where the account had its money sent elsewhere.
    event PaidTo(address indexed account, address indexed to, address indexed relayer, uint128 fee);
    /// @notice A leaf of a batch that was not paid: wrong proof, nothing left to claim, or a transfer that failed.
    event ClaimSkipped(address indexed account, uint64 indexed epoch, uint128 cumulative);

    /// @notice The account has had what that root says, or more.
    error NothingToClaim(address account, uint128 claimed);
    /// @notice More would be paid than the root says all earned.
    error ExceedsTotal(uint128 wouldBeClaimed, uint128 cumulativeTotal);
    /// @notice The signature was good until `deadline`.
    error SignatureExpired(address account, uint64 deadline);
    /// @notice That is not the account's signature over this.
    error InvalidSignature(address account);
    /// @notice The caller asks for more than was signed, or is paid.
    error FeeTooHigh(uint128 fee, uint128 maximum);

    /// @param token_ in which rewards are paid
    /// @param terms roles, windows, bond and cap, for good
    constructor(IERC20 token_, Terms memory terms)
        EpochRoots(token_, terms)
        EIP712("OpenLedger RewardsDistributor", "1")
    {}

    /// @notice Adds `amount` from the caller (who approved it) to what may be paid out. Counted by what arrived.
    function fund(uint128 amount) external nonReentrant {
        uint128 received = _pull(amount);
        funded += received;
        emit Funded(msg.sender, received, funded);
    }

    /// @notice Pays `account` what it has earned up to `epoch` and not yet received. Anyone may call.
    /// @return amount what was paid, in atomic units
    function claim(address account, uint128 cumulative, uint64 epoch, bytes32[] calldata proof)
        external
        nonReentrant
        returns (uint128 amount)
    {
        amount = _take(epoch, account, cumulative, proof);
        token.safeTransfer(account, amount);
    }

    /// @notice Pays what an account has earned to where its signature says, less a fee for the caller. Anyone may call.
    /// @dev A signature is used up when `claimed[account]` reaches its `cumulative`: by itself, by a later one, or by
    /// anybody's plain claim, which pays the account. So there is no nonce, and nothing can be paid twice.
    /// @param fee what the caller keeps; at most `maxFee`, and at most what is paid
    /// @return amount what was paid in all, in atomic units
    function claimWithSig(SignedClaim calldata c, uint64 epoch, uint128 fee)
        external
        nonReentrant
        returns (uint128 amount)
    {
        if (c.to == address(0)) revert ZeroAddress();
        if (c.deadline < block.timestamp) revert SignatureExpired(c.account, c.deadline);
        if (fee > c.maxFee) revert FeeTooHigh(fee, c.maxFee);
        bytes32 digest = claimDigest(c.account, c.to, c.cumulative, c.maxFee, c.deadline);
        if (!SignatureChecker.isValidSignatureNowCalldata(c.account, digest, c.signature)) {
            revert InvalidSignature(c.account);
        }
        amount = _take(epoch, c.account, c.cumulative, c.proof);
        if (fee > amount) revert FeeTooHigh(fee, amount);
        emit PaidTo(c.account, c.to, msg.sender, fee);
        token.safeTransfer(c.to, amount - fee);
        if (fee != 0) token.safeTransfer(msg.sender, fee);
    }

    /// @notice Pays many accounts; what cannot be paid is skipped with an event, so that nobody's claim can block
    /// another's.
    /// @return paid sum of what was paid
    function claimMany(uint64 epoch, Claim[] calldata claims) external nonReentrant returns (uint128 paid) {
        bytes32 root = _active(epoch).root;
        uint128 room = _activeTotal() - totalClaimed;
        for (uint256 i = 0; i < claims.length; ++i) {
            uint128 amount = _tryClaim(root, epoch, claims[i], room - paid);
            if (amount == 0) emit ClaimSkipped(claims[i].account, epoch, claims[i].cumulative);
            paid += amount;
        }
        totalClaimed += paid;
    }

    /// @notice The EIP-712 digest that an account signs to be paid elsewhere.
    function claimDigest(address account, address to, uint256 cumulative, uint256 maxFee, uint256 deadline)
        public
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(keccak256(abi.encode(CLAIM_TO_TYPEHASH, account, to, cumulative, maxFee, deadline)));
    }

    /// @notice The EIP-712 domain of what accounts sign.
    function domainSeparator() external view returns (bytes32) {
        return _domainSeparatorV4();
    }

    /// @dev Books one leaf as paid; the caller pays it.
    function _take(uint64 epoch, address account, uint128 cumulative, bytes32[] calldata proof)
        private
        returns (uint128 amount)
    {
        Epoch storage e = _active(epoch);
        _prove(e.root, account, cumulative, proof);
        uint128 paid = claimed[account];
        if (cumulative <= paid) revert NothingToClaim(account, paid);
        amount = cumulative - paid;
        uint128 total = totalClaimed + amount;
        if (total > e.cumulativeTotal && total > _activeTotal()) revert ExceedsTotal(total, _activeTotal());

        claimed[account] = cumulative;
        totalClaimed = total;
        emit Claimed(account, epoch, amount, cumulative);
    }

    /// @dev Pays one leaf of a batch, or returns 0 and leaves nothing changed. `totalClaimed` is the caller's to write.
    function _tryClaim(bytes32 root, uint64 epoch, Claim calldata c, uint128 room) private returns (uint128 amount) {
        uint128 before = claimed[c.account];
        if (c.cumulative <= before || c.cumulative - before > room) return 0;
        if (!MerkleProof.verifyCalldata(c.proof, root, leafOf(c.account, c.cumulative))) return 0;
        amount = c.cumulative - before;
        claimed[c.account] = c.cumulative;
        if (!token.trySafeTransfer(c.account, amount)) {
            claimed[c.account] = before;
            return 0;
        }
        emit Claimed(c.account, epoch, amount, c.cumulative);
    }
}
