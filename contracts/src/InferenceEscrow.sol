// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC3009} from "@openzeppelin/contracts/interfaces/draft-IERC3009.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {RewardsDistributor} from "./RewardsDistributor.sol";

/// @title Prepaid fees for answers
/// @notice A payer deposits once, signs a spending authorisation (a cumulative cap with a deadline), and is served
/// without further transactions. The operator redeems what was spent, many payers at a time, into the distributor.
/// @dev What the contract guarantees a payer: the operator never takes more than the cap the payer signed, nor more
/// than was deposited, and what it takes can go to the distributor only. What it does NOT know: whether the answers
/// were given. That is what receipts and the published log are for.
///
/// What holds at all times: token balance >= sum over payers of (deposited - spent), equal but for tokens that
/// somebody sends here unasked. The token must deliver what it is told to, as OPEN does: a deposit of which a part does
/// not arrive is refused. A signature by the payer's key counts, whatever code the account has; any other is put to the
/// payer's code (ERC-1271).
contract InferenceEscrow is EIP712 {
    using SafeERC20 for IERC20;

    struct Account {
        uint128 deposited; // all deposits, less finalised withdrawals
        uint128 spent; // cumulative, redeemed so far
    }

    struct Withdrawal {
        uint128 amount;
        uint64 availableAt; // 0: none initiated
    }

    struct Redemption {
        address payer;
        uint128 cumulativeSpent;
        uint256 cap;
        uint256 deadline;
        bytes signature;
    }

    /// @dev An ERC-3009 `ReceiveWithAuthorization` to this contract, without payer and amount.
    struct TransferAuthorisation {
        uint256 validAfter;
        uint256 validBefore;
        bytes32 nonce;
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    /// @notice EIP-712 type of what a payer signs.
    bytes32 public constant SPENDING_AUTHORISATION_TYPEHASH =
        keccak256("SpendingAuthorisation(address payer,uint256 cap,uint256 deadline)");

    /// @notice In which is paid.
    IERC20 public immutable token;
    /// @notice Where what was spent goes, and nowhere else.
    RewardsDistributor public immutable distributor;
    /// @notice Redeems, and can do nothing else.
    address public immutable operator;
    /// @notice Seconds between asking for a withdrawal and getting it: the operator's time to redeem what was already
    /// spent. Production deploys at least one epoch.
    uint64 public immutable withdrawDelay;

    /// @notice Of each payer: all deposits less withdrawals, and all that was spent.
    mapping(address payer => Account) public accounts;
    /// @notice What each payer asked back; `availableAt` 0: nothing.
    mapping(address payer => Withdrawal) public withdrawals;

    /// @param total the payer's `deposited` after it
    event Deposited(address indexed payer, uint128 amount, uint128 total);
    /// @notice Of a payer's deposit so much went to the distributor; `cumulativeSpent`: in all.
    event Redeemed(address indexed payer, uint128 amount, uint128 cumulativeSpent);
    /// @notice A payer asked for so much back, or, with 0, for nothing any more.
    event WithdrawInitiated(address indexed payer, uint128 amount, uint64 availableAt);
    /// @param total the payer's `deposited` after it
    event Withdrawn(address indexed payer, uint128 amount, uint128 total);

    /// @notice The operator, or the payer, must be somebody.
    error ZeroAddress();
    /// @notice Nothing is no deposit.
    error ZeroAmount();
    /// @notice The distributor pays in another token.
    error TokenMismatch();
    /// @notice Not all of the deposit arrived.
    error DepositIncomplete(uint256 received, uint128 amount);
    /// @notice Only the operator redeems.
    error NotOperator(address caller);
    /// @notice The payer's word was good until `deadline`.
    error AuthorisationExpired(address payer, uint256 deadline);
    /// @notice That is not the payer's signature over this.
    error InvalidSignature(address payer);
    /// @notice More would be taken than the payer signed for.
    error CapExceeded(address payer, uint128 cumulativeSpent, uint256 cap);
    /// @notice More would be taken than was deposited.
    error DepositExceeded(address payer, uint128 cumulativeSpent, uint128 deposited);
    /// @notice More is asked back than is there.
    error InsufficientBalance(address payer, uint128 amount, uint128 available);
    /// @notice Nothing was asked back.
    error NothingToWithdraw(address payer);
    /// @notice What was asked back can be had from `availableAt` on.
    error WithdrawalNotReady(address payer, uint64 availableAt);

    /// @param token_ in which is paid
    /// @param distributor_ where what was spent goes
    /// @param operator_ the only one who redeems
    /// @param withdrawDelay_ seconds between asking money back and having it
    constructor(IERC20 token_, RewardsDistributor distributor_, address operator_, uint64 withdrawDelay_)
        EIP712("OpenLedger InferenceEscrow", "1")
    {
        if (operator_ == address(0)) revert ZeroAddress();
        if (distributor_.token() != token_) revert TokenMismatch();
        token = token_;
        distributor = distributor_;
        operator = operator_;
        withdrawDelay = withdrawDelay_;
        // The distributor pulls in `fund`, which only this contract can make it do on this contract's tokens.
        token_.forceApprove(address(distributor_), type(uint256).max);
    }

    /// @notice Deposits `amount` of the caller's tokens (approved before) for the caller.
    function deposit(uint128 amount) external {
        _deposit(msg.sender, msg.sender, amount);
    }

    /// @notice Deposits `amount` of the caller's tokens for `payer`. A gift: only `payer` can withdraw it.
    function depositFor(address payer, uint128 amount) external {
        _deposit(msg.sender, payer, amount);
    }

    /// @notice Deposits the payer's own tokens by the payer's signed EIP-2612 permit; anyone may relay it.
    /// @dev The permit may have been front-run, which spends its nonce but grants the allowance: so its failure is
    /// ignored and the allowance decides. Somebody may thus deposit what the payer approved to this contract anyway;
    /// it is credited to the payer.
    function depositWithPermit(address payer, uint128 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
    {
        try IERC20Permit(address(token)).permit(payer, address(this), amount, deadline, v, r, s) {} catch {}
        _deposit(payer, payer, amount);
    }

    /// @notice Deposits the payer's own tokens by the payer's signed ERC-3009 transfer to this contract; anyone may relay
    /// it.
    /// @dev `ReceiveWithAuthorization`, which the token takes from this contract alone: as `TransferWithAuthorization`
    /// anybody could bring the money here without its being credited.
    function depositWithAuthorization(address payer, uint128 amount, TransferAuthorisation calldata a) external {
        uint256 before = _credit(payer, amount);
        IERC3009(address(token))
            .receiveWithAuthorization(payer, address(this), amount, a.validAfter, a.validBefore, a.nonce, a.v, a.r, a.s);
        _arrived(before, amount);
    }

    /// @notice Moves what the payers have spent since their last redemption to the distributor, in one transfer.
    /// @dev All or nothing, so that a mined redemption means that every line of it holds. A line that brings nothing
    /// new is skipped, so a batch sent twice moves the money once.
    /// @return moved sum in atomic units
    function redeem(Redemption[] calldata redemptions) external returns (uint128 moved) {
        if (msg.sender != operator) revert NotOperator(msg.sender);
        for (uint256 i = 0; i < redemptions.length; ++i) {
            moved += _redeem(redemptions[i]);
        }
        if (moved != 0) distributor.fund(moved);
    }

    /// @notice Asks for `amount` back; replaces an earlier request, and 0 cancels it.
    function initiateWithdraw(uint128 amount) external {
        uint128 available = balanceOf(msg.sender);
        if (amount > available) revert InsufficientBalance(msg.sender, amount, available);
        uint64 availableAt = amount == 0 ? 0 : uint64(block.timestamp) + withdrawDelay;
        withdrawals[msg.sender] = Withdrawal(amount, availableAt);
        emit WithdrawInitiated(msg.sender, amount, availableAt);
    }

    /// @notice Pays out the caller's request, or what redemptions have left of it.
    function finalizeWithdraw() external {
        Withdrawal memory request = withdrawals[msg.sender];
        if (request.availableAt == 0) revert NothingToWithdraw(msg.sender);
        if (request.availableAt > block.timestamp) revert WithdrawalNotReady(msg.sender, request.availableAt);
        uint128 available = balanceOf(msg.sender);
        uint128 amount = request.amount < available ? request.amount : available;

        delete withdrawals[msg.sender];
        uint128 total = accounts[msg.sender].deposited - amount;
        accounts[msg.sender].deposited = total;
        emit Withdrawn(msg.sender, amount, total);
        token.safeTransfer(msg.sender, amount);
    }

    /// @notice What the payer has deposited and the operator has not redeemed.
    function balanceOf(address payer) public view returns (uint128) {
        Account storage account = accounts[payer];
        return account.deposited - account.spent;
    }

    /// @notice The EIP-712 digest that a payer signs.
    function authorisationDigest(address payer, uint256 cap, uint256 deadline) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(SPENDING_AUTHORISATION_TYPEHASH, payer, cap, deadline)));
    }

    /// @notice The EIP-712 domain of what payers sign.
    function domainSeparator() external view returns (bytes32) {
        return _domainSeparatorV4();
    }

    function _deposit(address from, address payer, uint128 amount) private {
        uint256 before = _credit(payer, amount);
        token.safeTransferFrom(from, address(this), amount);
        _arrived(before, amount);
    }

    /// @dev Books a deposit; returns the tokens held before they come.
    function _credit(address payer, uint128 amount) private returns (uint256) {
        if (payer == address(0)) revert ZeroAddress();
        if (amount == 0) revert ZeroAmount();
        uint128 total = accounts[payer].deposited + amount;
        accounts[payer].deposited = total;
        emit Deposited(payer, amount, total);
        return token.balanceOf(address(this));
    }

    function _arrived(uint256 before, uint128 amount) private view {
        uint256 received = token.balanceOf(address(this)) - before;
        if (received != amount) revert DepositIncomplete(received, amount);
    }

    function _redeem(Redemption calldata r) private returns (uint128 increase) {
        Account storage account = accounts[r.payer];
        uint128 spent = account.spent;
        if (r.cumulativeSpent <= spent) return 0;
        if (r.cumulativeSpent > r.cap) revert CapExceeded(r.payer, r.cumulativeSpent, r.cap);
        uint128 deposited = account.deposited;
        if (r.cumulativeSpent > deposited) revert DepositExceeded(r.payer, r.cumulativeSpent, deposited);
        if (r.deadline < block.timestamp) revert AuthorisationExpired(r.payer, r.deadline);
        bytes32 digest = authorisationDigest(r.payer, r.cap, r.deadline);
        if (!_signed(r.payer, digest, r.signature)) revert InvalidSignature(r.payer);
        account.spent = r.cumulativeSpent;
        increase = r.cumulativeSpent - spent;
        emit Redeemed(r.payer, increase, r.cumulativeSpent);
    }

    /// @dev By the payer's key, whatever code the account has by now: what was signed and spent is not taken back by an
    /// EIP-7702 delegation. A contract wallet has no key: it is asked by ERC-1271, and may have changed its mind.
    function _signed(address payer, bytes32 digest, bytes calldata signature) private view returns (bool) {
        (address by, ECDSA.RecoverError error,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (error == ECDSA.RecoverError.NoError && by == payer) return true;
        return SignatureChecker.isValidERC1271SignatureNowCalldata(payer, digest, signature);
    }
}
